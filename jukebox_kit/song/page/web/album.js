"use strict";

// Which songs are shown, and that one alone is heard.
(() => {
  const rows = [...document.querySelectorAll(".song")];
  const choices = [...document.querySelectorAll("[data-which]")];
  const find = document.getElementById("find");

  // Letters as they are searched: without accents, small ones and capitals alike.
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const found = rows.map((row) => plain(row.dataset.words));

  function sift() {
    const { which } = choices.find((choice) => choice.getAttribute("aria-pressed") === "true").dataset;
    const words = plain(find.value).split(/\s+/);
    rows.forEach((row, index) => {
      const fits = !which || (which === "done") === (row.dataset.state === "done");
      row.hidden = !fits || !words.every((word) => found[index].includes(word));
      if (row.hidden) row.querySelectorAll("audio").forEach((audio) => audio.pause()); // it could not be stopped by hand
    });
    const left = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = `${left} of ${rows.length} songs shown`;
  }

  for (const choice of choices) {
    choice.addEventListener("click", () => {
      choices.forEach((one) => one.setAttribute("aria-pressed", one === choice));
      sift();
    });
  }
  find.addEventListener("input", sift);
  const silence = ({ target }) => {
    for (const audio of document.querySelectorAll("audio")) if (audio !== target) audio.pause();
  };
  document.addEventListener("play", silence, true); // the event does not rise, so it is caught on its way down
  document.getElementById("tools").hidden = false;
  sift(); // a browser may keep what was written into the field
})();
