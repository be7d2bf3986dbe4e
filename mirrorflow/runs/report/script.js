// Tables sort by their headings and show the rows that hold a word; figures open in full size.
"use strict";
const make = (name, text, attributes) =>
  Object.assign(document.createElement(name), {textContent: text}, attributes);
const number = (text) => {
  const plain = text.replace(/^[✗✓*\s]+/, "").replaceAll("−", "-").replace("∞", "Infinity");
  return plain === "" ? NaN : Number(plain.split(" ")[0]);
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows];
  if (rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", "", {type: "button", title: "sort by this column"});
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column]?.textContent.trim() ?? "";
      body.append(...[...body.rows].sort((a, b) => {
        const [x, y] = [text(a), text(b)], difference = number(x) - number(y);
        if (!Number.isNaN(difference)) return sign * difference;
        return Number.isNaN(number(x)) - Number.isNaN(number(y)) || sign * x.localeCompare(y);
      }));
    });
  });
  if (rows.length < 8) continue;
  const label = make("label", "rows with "), count = make("output", "");
  const field = make("input", "", {type: "search", name: "filter", size: 24});
  label.append(field);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.textContent = ` ${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  });
  const line = make("p", "", {className: "filter"});
  line.append(label, count);
  table.parentElement.before(line);
}
for (const image of document.querySelectorAll("figure img")) {
  const button = make("button", "", {type: "button", title: "full size and back"});
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => button.parentElement.classList.toggle("large"));
}
