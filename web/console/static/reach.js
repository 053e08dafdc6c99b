// Keeps the table of the reach page as it is in the ledger: asks every two seconds, and only while somebody looks.
const rows = document.getElementById("rows");

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(`${rows.dataset.address}&seen=${rows.dataset.live}`, { credentials: "same-origin", redirect: "error" });
    if (answer.status !== 200) return;
    const { live, rows: html } = await answer.json();
    const focused = document.activeElement && rows.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    rows.innerHTML = html; // our own server's rows, escaped there
    rows.dataset.live = live;
    if (focused) {
      const same = [...rows.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
      if (same) same.focus();
    }
  } catch (error) {
    // the next look will tell
  }
}

if (rows) {
  setInterval(look, 2000);
  document.addEventListener("visibilitychange", look);
}
