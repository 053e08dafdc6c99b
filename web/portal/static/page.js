// Reading aloud and printing. Both buttons stay hidden where the browser cannot do it. Nothing newer than Chromium 86.
const panel = document.getElementById("aloud");
const speech = window.speechSynthesis;

if (panel && speech && "SpeechSynthesisUtterance" in window) {
  const start = panel.querySelector("[data-do=start]");
  const pause = panel.querySelector("[data-do=pause]");
  const stop = panel.querySelector("[data-do=stop]");
  let voice = null;
  let round = 0; // ends of utterances that were cancelled come late; they belong to an earlier round
  let lit = null;

  // A voice of this device only: a voice "from the net" would tell another company what is read here.
  const choose = () => {
    const chinese = speech.getVoices().filter((one) => one.localService && /^(zh|cmn)/i.test(one.lang));
    voice = chinese.find((one) => /^(zh|cmn)[-_](Hans|CN)/i.test(one.lang)) || chinese[0] || null;
    panel.hidden = !voice;
  };

  const light = (element) => {
    if (lit) lit.classList.remove("reading");
    lit = element;
    if (!lit) return;
    lit.classList.add("reading");
    lit.scrollIntoView({ block: "nearest" });
  };

  // What is read, in order: the element that is lit, and a sentence or two. Long utterances break off in some browsers.
  const pieces = () => {
    const found = [];
    for (const part of document.querySelectorAll("[data-read]")) {
      const blocks = part.querySelectorAll("h2, h3, h4, h5, p, tr, li, dt, dd");
      for (const block of blocks.length ? blocks : [part]) {
        if (block.querySelector("p, li")) continue;
        const cells = block.matches("tr") ? [...block.children].map((cell) => cell.textContent.trim()) : [block.textContent];
        const text = cells.filter(Boolean).join("，").replace(/\s+/g, " ").trim();
        for (const sentence of text.match(/[^。！？；]{1,150}[。！？；]?/g) || []) found.push([block, sentence]);
      }
    }
    return found;
  };

  const show = (speaking, paused) => {
    start.hidden = speaking;
    pause.hidden = stop.hidden = !speaking;
    pause.textContent = paused ? "继续朗读" : "暂停朗读";
  };

  const end = () => {
    round += 1;
    speech.cancel();
    light(null);
    show(false, false);
  };

  const say = (left, mine) => {
    if (mine !== round) return;
    if (!left.length) {
      end();
      start.focus();
      return;
    }
    const [[block, sentence], ...rest] = left;
    const utterance = new SpeechSynthesisUtterance(sentence);
    utterance.lang = "zh-CN";
    utterance.voice = voice;
    utterance.rate = 0.9;
    utterance.onend = () => say(rest, mine);
    utterance.onerror = () => mine === round && end();
    light(block);
    speech.speak(utterance);
  };

  start.addEventListener("click", () => {
    end();
    show(true, false);
    pause.focus();
    say(pieces(), round);
  });
  pause.addEventListener("click", () => {
    const paused = !speech.paused;
    if (paused) speech.pause();
    else speech.resume();
    show(true, paused);
  });
  stop.addEventListener("click", () => {
    end();
    start.focus();
  });
  window.addEventListener("pagehide", end);
  speech.addEventListener("voiceschanged", choose);
  choose();
}

for (const button of document.querySelectorAll("[data-do=print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
