// Submission: what goes out, with the short texts as they are typed; and only the questions that the class asks.
const form = document.getElementById("submitting");
const previews = document.getElementById("previews");
let timer = 0;
let round = 0;

async function look() {
  const mine = ++round;
  try {
    const token = document.querySelector("meta[name=csrf]").content;
    const answer = await fetch(form.dataset.preview, {
      method: "POST", body: new FormData(form), credentials: "same-origin", redirect: "manual", headers: { "X-CSRF-Token": token },
    });
    if (!answer.ok) return;
    const html = await answer.text();
    if (mine !== round) return;
    const open = new Map([...previews.querySelectorAll(".channel")].map((one) => [one.dataset.channel, one.open]));
    previews.innerHTML = html; // our own server's, escaped there
    for (const one of previews.querySelectorAll(".channel")) {
      if (open.has(one.dataset.channel)) one.open = open.get(one.dataset.channel);
    }
    for (const count of previews.querySelectorAll("[data-parts]")) {
      for (const same of form.querySelectorAll(".written [data-parts]")) {
        if (same.dataset.parts === count.dataset.parts && same.textContent !== count.textContent) same.textContent = count.textContent;
      }
    }
    chosen();
  } catch (error) {
    // the next look will tell
  }
}

function chosen() {
  const ticked = new Set([...form.querySelectorAll("[name=channels]:checked")].map((one) => one.value));
  const open = form.elements.class.value === "proactive";
  for (const one of previews.querySelectorAll(".channel")) one.hidden = !open || !ticked.has(one.dataset.channel);
}

function fit() {
  for (const one of form.querySelectorAll("[data-class]")) one.hidden = one.dataset.class !== form.elements.class.value;
  chosen();
}

form.addEventListener("input", (event) => {
  if (["short_title", "sms_text"].includes(event.target.name)) {
    clearTimeout(timer);
    timer = setTimeout(look, 400);
  } else if (event.target.name === "at") {
    form.elements.when.value = "at";
  }
});
form.addEventListener("change", fit);
fit();
