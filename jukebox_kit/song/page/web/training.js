"use strict";

// One song is heard at a time. While training goes on the page is loaded again now and then, but not while a song plays.
(() => {
  const EVERY = 15; // seconds
  const KEPT = "jukebox_kit training page"; // in the tab's storage: what was open, and where songs were paused

  const audios = [...document.querySelectorAll("audio")];
  document.addEventListener(
    "play",
    ({ target }) => audios.forEach((audio) => audio !== target && audio.pause()),
    true, // the event does not bubble, so it is caught on its way down
  );

  function keep() {
    const open = [...document.querySelectorAll("details[open]")].map((one) => one.id);
    const places = audios.filter((audio) => audio.currentTime).map((audio) => [audio.getAttribute("src"), audio.currentTime]);
    sessionStorage.setItem(KEPT, JSON.stringify({ path: location.pathname, open, places }));
  }

  function bringBack() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "{}");
    sessionStorage.removeItem(KEPT);
    if (kept.path !== location.pathname) return;
    for (const id of kept.open) if (document.getElementById(id)) document.getElementById(id).open = true;
    const places = new Map(kept.places);
    for (const audio of audios) audio.currentTime = places.get(audio.getAttribute("src")) || 0;
  }

  bringBack();
  const news = document.getElementById("news");
  if (!news) return; // the run has ended
  const written = new Date(document.querySelector("time").dateTime);
  const loaded = Date.now();

  function look() {
    const playing = audios.some((audio) => !audio.paused && !audio.ended);
    const age = (Date.now() - written) / 1000;
    if (age > Number(news.dataset.news))
      news.textContent = "No news since then: training may have been interrupted. Run the same command again to resume.";
    else news.textContent = playing ? "What is new is shown once no song plays." : "The page shows what is new by itself.";
    news.hidden = false;
    if (playing || Date.now() - loaded < EVERY * 1000) return;
    keep();
    location.reload();
  }

  look();
  setInterval(look, 1000);
})();
