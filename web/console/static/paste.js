// What Word, WPS or a web page puts on the clipboard as HTML → text in official style: a paragraph a line, automatic
// numbers as text, tables as | rows. Deleted and hidden text and comments are not meant for readers and stay behind.
const BLOCKS = new Set(["P", "DIV", "H1", "H2", "H3", "H4", "H5", "H6", "LI", "UL", "OL", "BLOCKQUOTE", "SECTION", "DT", "DD", "PRE", "FIGCAPTION"]);
const NEVER = new Set(["STYLE", "SCRIPT", "HEAD", "TITLE", "META", "LINK", "DEL", "S", "STRIKE", "TEMPLATE", "XML"]);
const HAN = "\u3000-\u303f\u4e00-\u9fff\uff00-\uffef";
const BROKEN = new RegExp(`([${HAN}])[ \\t]*\\n[ \\t]*(?=[${HAN}])`, "g"); // Word wraps the lines of its HTML

/** null: nothing in it that plain text would lose. `pictures`: how many could not be taken. */
export function fromClipboard(html) {
  if (!/<(table|li|img|del|s|strike)[\s>]|mso-list|mso-hide|display:\s*none/i.test(html)) return null;
  const page = new DOMParser().parseFromString(html, "text/html");
  const lines = [""];
  walk(page.body, lines);
  const text = lines.map(tidy).join("\n").replace(/\n{3,}/g, "\n\n").trim();
  const pictures = page.body.querySelectorAll("img").length;
  return text || pictures ? { text, pictures, structured: /<(table|li)[\s>]|mso-list/i.test(html) } : null;
}

function tidy(line) {
  return line.replace(/[\u00a0 \t]+/g, " ").replace(/^ | $/g, "");
}

function walk(node, lines) {
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) {
      lines[lines.length - 1] += child.data.replace(BROKEN, "$1").replace(/\s*\n\s*/g, " ");
    } else if (child.nodeType === Node.ELEMENT_NODE && !unseen(child)) {
      element(child, lines);
    }
  }
}

function unseen(element) {
  const style = element.getAttribute("style") || "";
  return NEVER.has(element.tagName.toUpperCase())
    || /mso-hide:\s*all|display:\s*none|mso-element:\s*comment/i.test(style)
    || /MsoComment/.test(element.className);
}

function element(one, lines) {
  if (one.tagName === "BR") {
    lines.push("");
  } else if (one.tagName === "TABLE") {
    lines.push(...rows(one), "");
  } else if (BLOCKS.has(one.tagName)) {
    if (lines[lines.length - 1] !== "") lines.push("");
    if (one.tagName === "LI") lines[lines.length - 1] = number(one);
    walk(one, lines);
    lines.push("");
  } else {
    walk(one, lines);
  }
}

function rows(table) {
  const found = ["", ""];
  for (const row of table.rows) {
    const cells = [...row.cells].map((cell) => {
      const inside = [""];
      walk(cell, inside);
      return inside.map(tidy).filter(Boolean).join(" ").replace(/\|/g, "｜");
    });
    if (cells.some(Boolean)) found.push(`| ${cells.join(" | ")} |`);
  }
  return found;
}

function number(item) {
  const list = item.closest("ol, ul");
  if (!list || list.tagName === "UL") return "• ";
  const items = [...list.children].filter((one) => one.tagName === "LI");
  const at = items.indexOf(item) + (Number(list.getAttribute("start")) || 1);
  const kind = `${list.getAttribute("type") || ""} ${list.getAttribute("style") || ""} ${item.getAttribute("style") || ""}`;
  if (/chinese|cjk|han|japanese/i.test(kind)) return `${han(at)}、`;
  return `${at}．`;
}

function han(number) {
  const digits = "〇一二三四五六七八九";
  if (number < 10) return digits[number];
  if (number > 99) return String(number);
  const tens = Math.floor(number / 10);
  return (tens > 1 ? digits[tens] : "") + "十" + (number % 10 ? digits[number % 10] : "");
}
