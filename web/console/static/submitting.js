// Submission: what goes out, with the short texts as they are typed; and only the questions that the class asks.
const form = document.getElementById("submitting");
const previews = document.getElementById("previews");
let timer = 0;
let look = () => {};

import(`./previews.js${new URL(import.meta.url).search}`).then((module) => {
  look = module.previewsOf(previews, ask, () => {
    for (const count of previews.querySelectorAll("[data-parts]")) {
      for (const same of form.querySelectorAll(".written [data-parts]")) {
        if (same.dataset.parts === count.dataset.parts && same.textContent !== count.textContent) same.textContent = count.textContent;
      }
    }
    chosen();
  });
});

function ask(open) {
  const data = new FormData(form);
  for (const one of open) data.append("look", one);
  const token = document.querySelector("meta[name=csrf]").content;
  return fetch(form.dataset.preview, {
    method: "POST", body: data, credentials: "same-origin", redirect: "manual", headers: { "X-CSRF-Token": token },
  });
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
    timer = setTimeout(() => look(), 400);
  } else if (event.target.name === "at") {
    [...form.elements.when].find((one) => one.value === "at").checked = true;
  }
});
form.addEventListener("change", (event) => {
  if (event.target.name === "groups") look();
  fit();
});
fit();
