"use strict";

// The version menu, shown if the parent folder has several versions.
function offerVersions() {
  const { current, all } = window.siteVersions;
  const label = document.querySelector("label.versions");
  if (all.length < 2 || !label) return;
  const select = label.querySelector("select");
  for (const version of all) {
    select.add(new Option(version, version, false, version === current));
  }
  select.addEventListener("change", async () => {
    const root = new URL(document.documentElement.dataset.content_root, location.href);
    const chosen = new URL(`../${select.value}/`, root);
    const samePage = new URL(location.href.slice(root.href.length), chosen);
    const answer = await fetch(samePage, { method: "HEAD" }).catch(() => ({ ok: false }));
    location.assign(answer.ok ? samePage : new URL("index.html", chosen));
  });
  label.hidden = false;
}

// Make horizontally scrolling blocks scrollable by keyboard.
function letKeysScroll() {
  for (const box of document.querySelectorAll("article pre, article .table-wrapper")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

offerVersions();
letKeysScroll();
addEventListener("resize", letKeysScroll);
