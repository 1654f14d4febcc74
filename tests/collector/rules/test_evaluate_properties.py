"""What holds for every sequence of evidence."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from helpers.rules_build import MINUTE, Timeline, outcome_of, play, rule_of
from lapwing_collector.model.alerts import Status
from lapwing_collector.rules import Rule

SIGNS = "Ac-inN.0ES_"

rules = st.builds(
    lambda **keys: rule_of(**{k: v for k, v in keys.items() if v is not None}),
    for_=st.sampled_from(["0s", "90s", "3m"]),
    keep_firing_for=st.sampled_from(["0s", "2m"]),
    on_no_data=st.sampled_from(["ok", "keep", "no_data", "alert"]),
    no_data_for=st.sampled_from(["0s", "2m"]),
    on_missing=st.sampled_from(["resolve", "keep"]),
    missing_evals=st.integers(1, 3),
    min_samples=st.sampled_from([0, 10]),
)
evidence = st.text(SIGNS, max_size=40)


@given(rules, evidence)
def test_firing_and_resolved_alternate(rule: Rule, signs: str) -> None:
    """No alert fires twice without a resolve between, nor resolves without having fired."""
    _, _, timeline = play(rule, signs)
    by_alert: dict[str, list[Status]] = {}
    for transition in timeline.transitions:
        by_alert.setdefault(transition.instance.fingerprint, []).append(transition.status)
    for told in by_alert.values():
        assert told[::2] == [Status.FIRING] * len(told[::2])
        assert told[1::2] == [Status.RESOLVED] * len(told[1::2])


@given(rules, evidence)
def test_what_is_told_and_what_is_remembered_agree(rule: Rule, signs: str) -> None:
    """After any history an alert is firing or recovering exactly if its newest announcement was a firing."""
    _, _, timeline = play(rule, signs)
    newest = {t.instance.fingerprint: t.status for t in timeline.transitions}
    open_alerts = {key for key, status in newest.items() if status is Status.FIRING}
    announced = {key for key, i in timeline.state.instances.items() if i.state in {"firing", "recovering"}}
    assert announced == open_alerts


@given(rules, evidence)
def test_a_replay_of_the_same_slots_gives_the_same_states(rule: Rule, signs: str) -> None:
    """Evaluation depends on nothing but its arguments."""
    _, _, first = play(rule, signs)
    _, _, second = play(rule, signs)
    assert (first.state, first.transitions) == (second.state, second.transitions)


@given(rules, evidence, st.integers(0, 40))
def test_a_restart_changes_nothing(rule: Rule, signs: str, cut: int) -> None:
    """Going on from the remembered state alone gives what an unbroken run gives."""
    _, _, whole = play(rule, signs)
    _, _, before = play(rule, signs[:cut])
    after = Timeline(rule, before.state)
    after.slot = before.slot
    for sign in signs[cut:]:
        if sign == "_":
            after.skip_time()
        else:
            after.evaluate(outcome_of(sign))
    assert after.state == whole.state
    assert before.transitions + after.transitions == whole.transitions


@given(st.sampled_from([0, 1, 3, 5]), st.sampled_from([0, 2, 4]), st.text("Ac-iES_", max_size=60))
def test_waits_count_evaluations_with_evidence(for_minutes: int, keep_minutes: int, signs: str) -> None:
    """An alert fires after `for` in active slots and resolves after `keep_firing_for` in clear ones."""
    rule = rule_of(for_=f"{for_minutes}m", keep_firing_for=f"{keep_minutes}m", min_samples=10)
    states, _, _ = play(rule, signs)
    assert states == counted(signs, for_minutes, keep_minutes)


def counted(signs: str, for_slots: int, keep_slots: int) -> str:
    """The states by counting signs, without any times: an independent account of the same rules."""
    state, count, states = "I", 0, ""
    known = False
    for sign in signs:
        if sign == "_":
            states += "_"
            continue
        known = known or sign in "Ac-i"
        if sign == "A":
            count = count + 1 if state == "P" else 0
            state = "F" if state in "FR" or count >= for_slots else "P"
        elif sign == "c" and state in "FR":
            count = count + 1 if state == "R" else 0
            state = "I" if count >= keep_slots else "R"
        elif sign == "c":
            state = "I"
        states += state if known else "."
    return states


@given(rules, evidence)
def test_waits_never_count_more_than_the_time_that_passed(rule: Rule, signs: str) -> None:
    """However slots fall out, an alert fires no sooner than `for` after its first active slot."""
    _, _, timeline = play(rule, signs)
    for transition in timeline.transitions:
        instance = transition.instance
        if (
            transition.status is Status.FIRING
            and "health" not in instance.labels
            and rule.on_no_data != "alert"
        ):
            assert instance.fired_at - instance.active_at >= rule.for_
            assert timedelta(0) <= instance.fired_at - instance.active_at < rule.for_ + MINUTE
