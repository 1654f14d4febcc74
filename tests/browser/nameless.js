// Controls of a page that nothing says the name of.
() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea, summary, [tabindex]")]
  .filter((each) => each.checkVisibility() && !(each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.length))
  .map((each) => each.outerHTML.slice(0, 120))
