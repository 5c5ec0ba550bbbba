// What pages do beyond plain HTML: live regions, relative times, copy buttons, a filter for logs. Pages work without it.
"use strict";

// A live region names a stream of server-sent events. Each message is JSON {id, html}: `replace` puts the HTML in place of
// the element with that id, `append` adds it at the end, `done` closes the stream. `batch` is a list of {how, id, html} that
// belong together: all of them or, when the connection breaks, none.
function live(region) {
  const source = new EventSource(region.dataset.live);
  const place = (changes) => {
    const follow = following();
    for (const { how, id, html } of changes) {
      const element = document.getElementById(id);
      if (!element) continue;
      const template = document.createElement("template");
      template.innerHTML = html;
      times(template.content);
      durations(template.content);
      if (how === "replace") element.replaceWith(template.content);
      else element.append(template.content);
    }
    for (const input of document.querySelectorAll("input[data-filter]")) if (input.value) filter(input);
    if (follow) window.scrollTo(0, document.documentElement.scrollHeight);
  };
  for (const how of ["replace", "append"]) source.addEventListener(how, (event) => place([{ how, ...JSON.parse(event.data) }]));
  source.addEventListener("batch", (event) => place(JSON.parse(event.data)));
  source.addEventListener("done", () => { source.close(); region.dataset.liveState = "done"; });
  source.addEventListener("open", () => { region.dataset.liveState = "open"; });
  source.addEventListener("error", () => { if (source.readyState === EventSource.CONNECTING) region.dataset.liveState = "lost"; });
  window.addEventListener("pagehide", () => source.close());
}

// A reader at the end of a log stays there while it grows; one who scrolled up is left alone.
function following() {
  const page = document.documentElement;
  return document.querySelector("[data-follow]") !== null && page.scrollHeight - window.scrollY - window.innerHeight < 80;
}

const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function times(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const seconds = Math.round((Date.parse(element.dateTime) - Date.now()) / 1000);
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
    element.textContent = relative.format(Math.round(seconds / size), unit);
  }
}

// A duration that goes on, since an instant in milliseconds, counts by itself; the format is the server's.
function durations(root) {
  for (const element of root.querySelectorAll("[data-since]")) {
    const millis = Math.max(0, Date.now() - Number(element.dataset.since));
    const seconds = Math.floor(millis / 1000);
    const [hours, mins, secs] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    const two = (number) => String(number).padStart(2, "0");
    if (hours) element.textContent = `${hours}h ${two(mins)}m ${two(secs)}s`;
    else if (mins) element.textContent = `${mins}m ${two(secs)}s`;
    else element.textContent = `${secs}s`;
  }
}

function copyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

// A filter shows only the lines of its target that contain the text, and unfolds what is folded around them.
function filter(input) {
  const wanted = input.value.toLowerCase();
  const target = document.getElementById(input.dataset.filter);
  for (const line of target.querySelectorAll(".line")) {
    line.hidden = wanted !== "" && !line.textContent.toLowerCase().includes(wanted);
    if (wanted && !line.hidden) for (let at = line.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  }
}

function filters() {
  for (const input of document.querySelectorAll("input[data-filter]")) {
    input.hidden = false;
    input.addEventListener("input", () => filter(input));
  }
}

// In a graph, pointing at a job or reaching it by keyboard shows what comes before it and what comes after.
function graph(region) {
  const edges = [...region.querySelectorAll("[data-from]")];
  if (!edges.length) return;
  const reach = (start, from, to) => {
    const found = new Set([start]);
    for (const id of found) for (const edge of edges) if (edge.dataset[from] === id) found.add(edge.dataset[to]);
    return found;
  };
  const pick = (event) => {
    const node = event.target.closest?.(".node[id]");
    const before = node ? reach(node.id, "to", "from") : new Set(), after = node ? reach(node.id, "from", "to") : new Set();
    region.classList.toggle("picking", node !== null && before.size + after.size > 2);
    for (const it of region.querySelectorAll(".node[id]")) it.classList.toggle("on", before.has(it.id) || after.has(it.id));
    for (const { classList, dataset: { from, to } } of edges) {
      classList.toggle("on", (before.has(from) && before.has(to)) || (after.has(from) && after.has(to)));
    }
  };
  const leave = () => pick({ target: region });
  region.addEventListener("mouseover", pick);
  region.addEventListener("focusin", pick);
  region.addEventListener("mouseleave", leave);
  region.addEventListener("focusout", leave);
}

function confirmations() {
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
}

document.querySelectorAll("[data-live]").forEach(live);
times(document);
setInterval(() => times(document), 30000);
durations(document);
setInterval(() => durations(document), 1000);
copyButtons();
document.querySelectorAll(".graph").forEach(graph);
filters();
confirmations();
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
