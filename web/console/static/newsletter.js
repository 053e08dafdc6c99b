// One issue: countdown and progress follow the ledger; contents are moved with the mouse, too. Buttons do all of it.
const live = document.getElementById("live");
let mark = "";

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(`${live.dataset.address}?seen=${mark}`, { credentials: "same-origin", redirect: "error" });
    if (answer.status !== 200) return;
    const told = await answer.json();
    if (mark) live.innerHTML = told.html; // our own server's, escaped there
    mark = told.live;
    say();
  } catch (error) {
    // the next look will tell
  }
}

// Whoever listens hears how far it is, and not every two seconds.
let said = Date.now();
function say() {
  if (Date.now() - said < 30000) return;
  said = Date.now();
  document.getElementById("told").textContent = document.getElementById("summary").textContent.trim();
}

setInterval(look, 2000);
document.addEventListener("visibilitychange", look);
look();

// ── moving ──

const contents = document.getElementById("contents");
let dragged = null;

function send(act) {
  const button = document.createElement("button");
  button.name = "act";
  button.value = act;
  button.hidden = true;
  contents.append(button);
  button.click();
}

function over(event) {
  const list = event.target.closest("ol.entries");
  if (!dragged || !list) return null;
  const beside = [...list.querySelectorAll("li[data-item]")].find((one) => {
    const box = one.getBoundingClientRect();
    return one !== dragged && event.clientY < box.top + box.height / 2;
  });
  return { list, beside: beside || null };
}

if (contents) {
  contents.addEventListener("dragstart", (event) => {
    dragged = event.target.closest("li[data-item]");
    if (!dragged) return;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.dataset.item);
    dragged.classList.add("dragged");
  });
  contents.addEventListener("dragover", (event) => {
    const place = over(event);
    if (!place) return;
    event.preventDefault();
    place.list.insertBefore(dragged, place.beside);
  });
  contents.addEventListener("dragend", () => {
    if (!dragged) return;
    const list = dragged.closest("ol.entries");
    const place = [...list.querySelectorAll("li[data-item]")].indexOf(dragged);
    const act = `place:${dragged.dataset.item}:${list.dataset.column}:${place}`;
    dragged.classList.remove("dragged");
    dragged = null;
    send(act);
  });
  // The page comes back with the same button under the finger.
  contents.addEventListener("submit", (event) => {
    const act = event.submitter ? event.submitter.value : "";
    sessionStorage.setItem("moved", JSON.stringify([act, scrollY]));
  });
  const before = sessionStorage.getItem("moved");
  sessionStorage.removeItem("moved");
  if (before && document.querySelector(".said")) {
    const [act, page] = JSON.parse(before);
    addEventListener("load", () => setTimeout(() => { // after the browser went to the address's own place
      const same = [...contents.querySelectorAll("button[name=act]")].find((one) => one.value === act && !one.disabled);
      if (same) same.focus({ preventScroll: true });
      scrollTo({ top: page, behavior: "auto" });
    }));
  }
}
