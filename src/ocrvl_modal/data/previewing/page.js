"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const bar = document.querySelector(".bar");
  const search = byId("search");
  const cards = [...document.querySelectorAll(".card")].map((element) => ({
    element,
    task: element.dataset.task,
    kinds: element.dataset.kinds ? element.dataset.kinds.split(" ") : [],
    text: searchable(element),
  }));
  const chosen = { tasks: new Set(), kinds: new Set() };
  let shown = cards;
  let here = null;

  function folded(text) {
    return text.normalize("NFC").toLowerCase();
  }

  function searchable(element) {
    return folded(element.querySelector(".source").textContent + "\n" + element.querySelector(".name").textContent);
  }

  function counted(of) {
    const counts = new Map();
    for (const card of cards) for (const word of of(card)) counts.set(word, (counts.get(word) || 0) + 1);
    return [...counts].sort((one, other) => other[1] - one[1]);
  }

  function chip(name, count, set, badge) {
    const button = document.createElement("button");
    const number = document.createElement("span");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(name, number);
    number.className = "count";
    number.textContent = count.toLocaleString("en");
    if (badge) {
      button.classList.add(badge.classList.contains("error") ? "error" : "warning");
      button.title = badge.title;
    }
    button.addEventListener("click", () => {
      const on = !set.has(name);
      if (on) set.add(name);
      else set.delete(name);
      button.setAttribute("aria-pressed", String(on));
      filter();
    });
    return button;
  }

  function badgeOf(kind) {
    for (const card of cards) {
      if (!card.kinds.includes(kind)) continue;
      for (const badge of card.element.querySelectorAll(".badge")) if (badge.textContent === kind) return badge;
    }
    return null;
  }

  const tasks = counted((card) => [card.task]);
  if (tasks.length > 1) byId("tasks").append(...tasks.map(([name, count]) => chip(name, count, chosen.tasks)));
  const kinds = counted((card) => card.kinds);
  byId("kinds").append(...kinds.map(([name, count]) => chip(name, count, chosen.kinds, badgeOf(name))));

  function filter() {
    const words = folded(search.value.trim());
    shown = cards.filter((card) => {
      const fits =
        (!chosen.tasks.size || chosen.tasks.has(card.task)) &&
        (!chosen.kinds.size || card.kinds.some((kind) => chosen.kinds.has(kind))) &&
        (!words || card.text.includes(words));
      card.element.hidden = !fits;
      return fits;
    });
    const all = cards.length.toLocaleString("en");
    byId("shown").textContent =
      shown.length === cards.length ? all + " samples" : shown.length.toLocaleString("en") + " of " + all + " samples";
    byId("none").hidden = shown.length > 0;
    highlight(words);
  }

  // Only what the browser marks by itself: the text stays as it is.
  function highlight(words) {
    if (!window.Highlight || !CSS.highlights) return;
    CSS.highlights.delete("hit");
    if (!words) return;
    const ranges = [];
    for (const card of shown.slice(0, 300)) {
      const walker = document.createTreeWalker(card.element.querySelector(".target"), NodeFilter.SHOW_TEXT);
      while (walker.nextNode() && ranges.length < 2000) {
        const text = walker.currentNode.data.toLowerCase();
        for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
          if (at + words.length > walker.currentNode.length) break;
          const range = new Range();
          range.setStart(walker.currentNode, at);
          range.setEnd(walker.currentNode, at + words.length);
          ranges.push(range);
        }
      }
    }
    CSS.highlights.set("hit", new Highlight(...ranges));
  }

  function clear() {
    search.value = "";
    chosen.tasks.clear();
    chosen.kinds.clear();
    for (const button of document.querySelectorAll(".chips button")) button.setAttribute("aria-pressed", "false");
    filter();
  }

  function go(card) {
    if (!card) return;
    if (here) here.element.classList.remove("here");
    here = card;
    here.element.classList.add("here");
    here.element.scrollIntoView({ block: "start" });
  }

  function placeOnScreen() {
    if (here && !here.element.hidden) return shown.indexOf(here);
    const top = bar.getBoundingClientRect().bottom;
    return shown.findIndex((card) => card.element.getBoundingClientRect().bottom > top) - 0.5;
  }

  function step(by, wanted) {
    const place = placeOnScreen();
    let next = by > 0 ? Math.floor(place) + 1 : Math.ceil(place) - 1;
    while (next >= 0 && next < shown.length && !wanted(shown[next])) next += by;
    go(shown[next]);
  }

  function toggleSource() {
    const on = root.classList.toggle("as-written");
    byId("source").setAttribute("aria-pressed", String(on));
  }

  function toggleTheme() {
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  }

  function enlarge(element) {
    if (element) element.classList.toggle("large");
  }

  function light(event, on) {
    const part = event.target.closest("[data-box]");
    if (!part) return;
    const same = part.closest(".card").querySelectorAll('[data-box="' + part.dataset.box + '"]');
    for (const each of same) each.classList.toggle("lit", on);
  }

  const any = () => true;
  const withFinding = (card) => card.kinds.length > 0;
  const keys = {
    j: () => step(1, any),
    k: () => step(-1, any),
    n: () => step(1, withFinding),
    p: () => step(-1, withFinding),
    s: toggleSource,
    d: toggleTheme,
    z: () => enlarge((here || shown[Math.max(0, Math.ceil(placeOnScreen()))] || {}).element),
    "/": () => search.focus(),
    "?": () => byId("help").showModal(),
    Escape: clear,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    if (event.target === search && event.key !== "Escape") {
      if (event.key === "Enter") search.blur();
      return;
    }
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    if (event.key === "Escape") search.blur();
    act();
  });
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  });
  byId("source").addEventListener("click", toggleSource);
  byId("theme").addEventListener("click", toggleTheme);
  byId("keys").addEventListener("click", () => byId("help").showModal());
  byId("clear").addEventListener("click", clear);
  const samples = byId("samples");
  samples.addEventListener("click", (event) => {
    const image = event.target.closest(".image");
    if (image) enlarge(image.closest(".card"));
  });
  samples.addEventListener("mouseover", (event) => light(event, true));
  samples.addEventListener("mouseout", (event) => light(event, false));
  new ResizeObserver(() => root.style.setProperty("--bar", bar.offsetHeight + 10 + "px")).observe(bar);
  filter();
})();
