// What pages do beyond plain HTML: live regions, relative times, copy buttons, a filter for logs. Pages work without it.
"use strict";

// A live region names a stream of server-sent events. Each message is JSON {id, html}: `replace` puts the HTML in place of
// the element with that id, `append` adds it at the end, `done` closes the stream.
function live(region) {
  const source = new EventSource(region.dataset.live);
  const place = (event, how) => {
    const { id, html } = JSON.parse(event.data);
    const element = document.getElementById(id);
    if (!element) return;
    const follow = following();
    const template = document.createElement("template");
    template.innerHTML = html;
    how(element, template.content);
    times(document.getElementById(id) ?? document);
    if (follow) window.scrollTo(0, document.documentElement.scrollHeight);
  };
  source.addEventListener("replace", (event) => place(event, (element, content) => element.replaceWith(content)));
  source.addEventListener("append", (event) => place(event, (element, content) => element.append(content)));
  source.addEventListener("done", () => { source.close(); region.dataset.liveState = "done"; });
  source.addEventListener("open", () => { region.dataset.liveState = "open"; });
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

// A filter shows only the lines of its target that contain the text.
function filters() {
  for (const input of document.querySelectorAll("input[data-filter]")) {
    input.hidden = false;
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      for (const line of document.querySelectorAll(`#${CSS.escape(input.dataset.filter)} .line`)) {
        line.hidden = wanted !== "" && !line.textContent.toLowerCase().includes(wanted);
      }
    });
  }
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
copyButtons();
filters();
confirmations();
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
