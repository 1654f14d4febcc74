"""Calls of a large language model behind an OpenAI-compatible address: what is asked is described, not kept.

models/support.yaml says so: the collector stores how long a prompt is, and drops the prompt.
pip install lapwing;  LLM_URL=http://localhost:11434/v1 python llm_call.py "Where is my parcel?"
"""

import json
import os
import sys
import urllib.request
from typing import Any

import lapwing

PROMPT = "You help customers of a parcel service. Answer in one sentence.\n\n{question}"
MODEL = "llama3.2"


def complete(prompt: str, temperature: float) -> dict[str, Any]:
    """Ask the model."""
    asked = {
        "model": MODEL,
        "temperature": temperature,
        "messages": [{"role": "user", "content": prompt}],
    }
    request = urllib.request.Request(  # noqa: S310  # an address that its user sets
        f"{os.environ['LLM_URL']}/chat/completions",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('LLM_KEY', '')}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # see above
        told: dict[str, Any] = json.load(answer)
        return told


def recorded(completion: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an answer."""
    choice, usage = completion["choices"][0], completion.get("usage", {})
    return {
        "text": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
    }


# The version is that of everything that makes the answer: the model and the prompt's wording. A call that
# fails, or takes too long, becomes a row with its error.
watched = lapwing.watch(model="support", version=f"{MODEL}/prompt-4", capture_output=recorded)(complete)


def answer(question: str) -> str:
    """Answer a customer."""
    with lapwing.scope(tags={"template": "parcel"}):
        text: str = watched(PROMPT.format(question=question), 0.2)["choices"][0]["message"]["content"]
    return text


if __name__ == "__main__":
    lapwing.init(service="support")
    print(answer(sys.argv[1]))
    lapwing.flush()
