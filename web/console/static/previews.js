// The previews beside a form: made again when something was typed, and only of those channels that are open.

/** `ask(open)` fetches them for the channels of these names; `shown` is told when they stand there. Returns `look`. */
export function previewsOf(container, ask, shown = () => {}) {
  let round = 0;

  function open() {
    const all = [...container.querySelectorAll("details.channel")];
    return all.length ? [...all.filter((one) => one.open).map((one) => one.dataset.channel), ""] : [];
  }

  async function look() {
    const mine = ++round;
    try {
      const answer = await ask(open());
      if (!answer.ok) return;
      const html = await answer.text();
      if (mine !== round) return;
      const now = new Set(open());
      const facts = new Set([...container.querySelectorAll(".channel details[open]")].map((one) => one.closest(".channel").dataset.channel));
      container.innerHTML = html; // our own server's, escaped there
      for (const one of container.querySelectorAll("details.channel")) {
        if (now.size) one.open = now.has(one.dataset.channel);
        const inside = one.querySelector("details");
        if (inside) inside.open = facts.has(one.dataset.channel);
      }
      shown();
      if (container.querySelector("[data-again]")) setTimeout(() => { if (mine === round) look(); }, 3000);
    } catch (error) {
      // the next look will tell
    }
  }

  container.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.dataset.waits) look();
  }, true);
  return look;
}
