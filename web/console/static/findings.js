// Findings of a text that is being written: shown in their place, and put right there in one click.

/** The excerpt as a pattern: a masked number stands for the number it was made from. */
function pattern(excerpt) {
  const signs = Array.from(excerpt, (sign) => (sign === "*" ? "[^\\n]" : sign.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return new RegExp(signs.join(""), "g");
}

/** Where it begins in the field, or -1: the server counted in a cleaned text, so the place nearest to what it said. */
function place(text, excerpt, start) {
  if (!excerpt) return Math.min(start, text.length);
  let nearest = -1;
  for (const match of text.matchAll(pattern(excerpt))) {
    if (match[0] === excerpt && excerpt.includes("*")) continue; // masked already
    if (nearest < 0 || Math.abs(match.index - start) < Math.abs(nearest - start)) nearest = match.index;
  }
  return nearest;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-place]");
  if (!button) return;
  const { excerpt, instead } = button.dataset;
  const field = document.querySelector(`form [name="${button.dataset.place}"]`);
  const at = field ? place(field.value, excerpt, Number(button.dataset.start)) : -1;
  if (at < 0) return;
  const written = document.querySelector('button[data-show="text"]');
  if (written) written.click(); // on a narrow screen the form is behind the preview
  field.setSelectionRange(at, at);
  field.blur(); // Chromium scrolls to the caret when a field gets the focus
  field.focus();
  field.setSelectionRange(at, at + excerpt.length);
  // As if typed: Ctrl-Z takes it back, and whoever listens to the field hears of it.
  if (instead && !document.execCommand("insertText", false, instead)) {
    field.setRangeText(instead, at, at + excerpt.length, "select");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
});
