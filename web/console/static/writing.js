// Writing: keeps what is typed every few seconds, shows its structure and its previews, takes tables and lists from Word.
let fromClipboard = () => null;
const release = new URL(import.meta.url).search; // what we load is of the same release, whatever a browser has kept
import(`./paste.js${release}`).then((module) => { fromClipboard = module.fromClipboard; });

const form = document.getElementById("writing");
const text = form.elements.text;
const status = document.getElementById("kept");
const said = form.dataset;

let typed = Boolean(said.dirty); // something is not kept yet
let saving = false;
let leaving = false;
let timer = 0;
let running = null;

// ── to the server ──

function fields(act) {
  const data = new FormData(form);
  data.delete("body_file");
  data.delete("new_files");
  data.delete("csrf");
  if (act) data.set("act", act);
  return data;
}

// A session may have ended, or begun anew in another window: then our token is stale, and a page of ours has the new one.
async function send(address, data, how = {}) {
  for (const again of [false, true]) {
    const token = document.querySelector("meta[name=csrf]").content;
    const answer = await fetch(address, {
      method: "POST", body: data, credentials: "same-origin", redirect: "manual", headers: { "X-CSRF-Token": token }, ...how,
    });
    if (answer.type === "opaqueredirect") throw new Error("signed out");
    if (answer.status !== 403 || again) return answer;
    await renew();
  }
}

async function renew() {
  const page = await (await fetch(said.signin, { credentials: "same-origin" })).text();
  const found = new DOMParser().parseFromString(page, "text/html").querySelector("meta[name=csrf]");
  if (!found) throw new Error("signed out");
  document.querySelector("meta[name=csrf]").content = found.content;
  form.elements.csrf.value = found.content;
}

function sayStatus(sentence, wrong) {
  if (status.textContent !== sentence) status.textContent = sentence;
  status.className = wrong ? "wrong small" : "soft small";
}

function failed(error) {
  sayStatus(error.message === "signed out" ? said.signedOut : said.noServer, true);
}

// ── the working copy ──

function take(answer) {
  form.elements.copy.value = answer.copy;
  form.elements.known.value = answer.known;
  sayStatus(answer.said, false);
  const others = document.getElementById("others");
  if (others.innerHTML.trim() !== answer.others.trim()) others.innerHTML = answer.others; // our own server's, escaped there
  const here = `${said.here}?copy=${answer.copy}`; // a reloaded page goes on where this one is
  if (location.pathname + location.search !== here) history.replaceState(null, "", here);
}

// false: the server was not reached, or does not know us any more.
async function keepNow(how) {
  typed = false;
  try {
    const answer = await send(said.keep, fields(), how);
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) {
      take(told);
    } else {
      typed = true; // not kept: whoever closes the window is asked
      sayStatus(told.wrong || said.notKept, true);
    }
    return true;
  } catch (error) {
    typed = true;
    failed(error);
    later(8000);
  }
  return false;
}

// One after another: each needs to know what the last one was answered.
function keep(how) {
  const begin = running || Promise.resolve();
  const mine = begin.then(() => keepNow(how));
  running = mine.finally(() => { if (running === mine) running = null; });
  return mine;
}

function later(wait) {
  clearTimeout(timer);
  timer = setTimeout(() => { if (typed) keep(); }, wait);
}

let firstTyped = 0;
function changed() {
  if (!typed) firstTyped = Date.now();
  typed = true;
  later(Date.now() - firstTyped > 4000 ? 0 : 1200);
  lookLater();
}

form.addEventListener("input", (event) => { if (event.target.type !== "file") changed(); });
document.addEventListener("visibilitychange", () => {
  if (document.hidden && typed && !leaving) keep({ keepalive: new Blob([text.value]).size < 40000 });
});
addEventListener("beforeunload", (event) => {
  if (typed && !leaving) {
    event.preventDefault();
    event.returnValue = "";
  }
});

// ── saving: first the working copy, so that not even a session that has ended loses anything ──

let allowed = null;
form.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (button && button.formTarget === "_blank") return;
  if (saving || leaving) {
    event.preventDefault();
    return;
  }
  if (allowed === button) {
    leaving = true;
    sessionStorage.setItem("writing", JSON.stringify([text.selectionStart, text.scrollTop, scrollY]));
    return;
  }
  event.preventDefault();
  const act = button ? button.value : "save";
  if (act === "add" || act === "import" || act.includes(":")) {
    files(act, button);
    return;
  }
  clearTimeout(timer);
  sayStatus(said.keeping, false);
  saving = true;
  const reached = await keep();
  saving = false;
  if (reached) {
    allowed = button;
    button.click();
  }
});

addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "s") {
    event.preventDefault();
    form.querySelector(".savebar button.main").click();
  }
});

const before = sessionStorage.getItem("writing");
sessionStorage.removeItem("writing");
if (before && document.querySelector(".said")) {
  const [caret, inside, page] = JSON.parse(before);
  text.focus({ preventScroll: true });
  text.setSelectionRange(caret, caret);
  text.scrollTop = inside;
  scrollTo(0, page);
}

// ── attachments, and a text from a file ──

async function files(act, button) {
  const chosen = form.elements[act === "import" ? "body_file" : "new_files"];
  if (act === "import" && text.value.trim() && chosen.files.length && !confirm(said.replace)) return;
  const wrong = document.getElementById("wrong");
  await (running || null);
  clearTimeout(timer);
  const data = fields(act);
  if (act === "add" || act === "import") for (const file of chosen.files) data.append(chosen.name, file);
  if (button) button.disabled = true;
  sayStatus(said.keeping, false);
  try {
    const answer = await send(said.files, data);
    const told = await answer.json().catch(() => ({}));
    wrong.textContent = "";
    if (answer.ok) {
      typed = false;
      take(told);
      document.getElementById("files").innerHTML = told.files;
      document.getElementById("findings").innerHTML = told.findings;
      if (act === "import") {
        replaceAll(form.elements.title, told.title);
        replaceAll(text, told.text);
        typed = false;
      }
      if (act === "add" || act === "import") chosen.value = "";
      look();
    } else {
      const sentence = document.createElement("p");
      sentence.className = "wrong";
      sentence.textContent = told.wrong || said.notKept;
      wrong.append(sentence);
      wrong.scrollIntoView({ block: "center" });
      sayStatus("", false);
    }
  } catch (error) {
    failed(error);
  } finally {
    if (button) button.disabled = false;
  }
}

// As if it were typed: Ctrl+Z takes it back.
function replaceAll(field, value) {
  if (field.value === value) return;
  field.focus();
  field.select();
  if (!document.execCommand("insertText", false, value)) field.value = value;
}

form.elements.new_files.addEventListener("change", (event) => { if (event.target.files.length) files("add"); });

// ── structure and previews ──

const outline = document.getElementById("outline");
let looking = 0;
let round = 0;
let previews = () => {};
import(`./previews.js${release}`).then((module) => {
  previews = module.previewsOf(document.getElementById("previews"), (open) => {
    const data = fields();
    for (const one of open) data.append("look", one);
    return send(`${said.preview}?part=1`, data);
  });
  previews();
});

function lookLater() {
  clearTimeout(looking);
  looking = setTimeout(look, 900);
}

async function look() {
  const mine = ++round;
  previews();
  try {
    const only = new FormData();
    only.set("text", text.value);
    const answer = await send(said.outline, only);
    if (answer.ok && mine === round) outline.innerHTML = await answer.text(); // our own server's, escaped there
  } catch (error) {
    // the next look will tell; the status line speaks of the connection
  }
}

outline.addEventListener("click", (event) => {
  const wanted = event.target.dataset.find;
  const at = wanted ? text.value.indexOf(wanted) : -1;
  if (at < 0) return;
  show("text");
  text.setSelectionRange(at, at);
  text.blur(); // Chromium scrolls to the caret when a field gets the focus
  text.focus();
  text.setSelectionRange(at, at + wanted.length);
});

// ── pasting ──

text.addEventListener("paste", (event) => {
  const html = event.clipboardData.getData("text/html");
  const taken = html ? fromClipboard(html) : null;
  if (!taken) return;
  event.preventDefault();
  if (!document.execCommand("insertText", false, taken.text)) {
    text.setRangeText(taken.text, text.selectionStart, text.selectionEnd, "end");
    changed();
  }
  const notes = taken.structured ? [said.pasted] : [];
  if (taken.pictures) notes.push(said.pictures.replace("{count}", taken.pictures));
  document.getElementById("pasted").textContent = notes.join(" ");
});

// ── what a 公示 asks for, and the phone's two sides ──

const notice = form.querySelector(".notice");
function fit() {
  const filled = [...notice.querySelectorAll("input")].some((one) => one.value);
  notice.hidden = form.elements.item_type.value !== notice.dataset.type && !filled;
}
form.elements.item_type.addEventListener("change", fit);
fit();

const sides = form.querySelector(".switch");
sides.hidden = false;
function show(side) {
  form.dataset.side = side;
  for (const one of sides.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one.dataset.show === side));
}
sides.addEventListener("click", (event) => { if (event.target.dataset.show) show(event.target.dataset.show); });
show("text");
if (typed) later(0);
