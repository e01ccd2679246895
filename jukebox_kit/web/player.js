// The player of a song's page: items, their levels, one transport.
//
// What is heard is one <audio> at a time, the `voice`. Another level or item is brought in at the voice's own moment,
// and the voice gives way only when the other can be heard, so that switching neither loses the place nor leaves a gap.
// Everything played and shown is named by the data in the page: relative names or data: URIs.
(() => {
  "use strict";

  const song = JSON.parse(document.getElementById("song").textContent);
  const byId = (id) => document.getElementById(id);
  const BEST = "best";
  const STEP = 2; // seconds that an arrow key goes
  const EDGE = 0.04; // seconds before a level's end at which another one takes over

  const state = { index: 0, wanted: BEST, playing: false, place: 0, volume: 1 };
  const voices = new Map(); // sound → <audio>
  const broken = new Set(); // sounds whose files cannot be played
  let voice = null; // what is heard: {sound, audio}
  let coming = null; // the <audio> that takes over as soon as it can
  let follow = 0; // the animation frame that is asked for

  const item = () => song.items[state.index];
  const whole = (sounds) => sounds.filter((sound) => !broken.has(sound));
  const reach = () => Math.max(0, ...whole(item().sounds).map((sound) => sound.seconds));
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function clock(seconds) {
    const tenths = Math.floor(seconds * 10 + 1e-6);
    const pad = String(Math.floor(tenths / 10) % 60).padStart(2, "0");
    return `${Math.floor(tenths / 600)}:${pad}.${tenths % 10}`;
  }

  // The moment of the song. A voice whose file is not open yet cannot tell it, nor one that is about to be left.
  function moment() {
    return voice && !coming && voice.audio.readyState ? voice.audio.currentTime : state.place;
  }

  // The sound to be heard at a moment: the level wanted where it reaches, else the best that does.
  function choice(time) {
    const sounds = whole(item().sounds);
    const reaching = sounds.filter((sound) => time < sound.seconds - EDGE);
    const at = reaching.length ? reaching : sounds.filter((sound) => sound.seconds >= reach() - EDGE);
    return at.find((sound) => sound.level === state.wanted) || at[0] || null;
  }

  function audioOf(sound) {
    if (!voices.has(sound)) {
      const audio = new Audio();
      audio.preload = "auto";
      audio.src = sound.audio;
      audio.addEventListener("error", () => fail(sound));
      audio.addEventListener("ended", () => ended(audio));
      byId("voices").append(audio);
      voices.set(sound, audio);
    }
    return voices.get(sound);
  }

  function fail(sound) {
    const place = moment();
    broken.add(sound);
    coming = null;
    if (voice && voice.sound === sound) voice = null;
    go(place);
  }

  // Hear the song at a moment, by the sound that is to be heard there.
  function go(time, jump = true) {
    state.place = clamp(time, 0, reach());
    const sound = choice(state.place);
    if (!sound) {
      state.playing = false;
      if (voice) voice.audio.pause();
      voice = coming = null;
    } else if (voice && voice.sound === sound) {
      coming = null;
      if (jump) voice.audio.currentTime = state.place;
      if (state.playing) start(voice.audio);
    } else {
      take(sound, jump);
    }
    paint();
  }

  function take(sound, jump) {
    const audio = audioOf(sound);
    const left = voice && !jump ? voice.audio : null; // goes on until the other can be heard
    if (voice && jump) voice.audio.pause();
    coming = audio;
    const enter = () => {
      if (coming !== audio) return; // something else was chosen meanwhile
      const at = left && !left.ended ? left.currentTime : state.place;
      audio.currentTime = state.place = Math.min(at, sound.seconds);
      audio.volume = state.volume;
      if (!state.playing) return relieve(sound, audio);
      audio.muted = Boolean(left);
      start(audio, () => relieve(sound, audio));
    };
    if (audio.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA) enter();
    else audio.addEventListener("canplay", enter, { once: true });
  }

  // The voice gives way to another.
  function relieve(sound, audio) {
    if (coming !== audio) return audio.pause();
    coming = null;
    if (voice && voice.audio !== audio) voice.audio.pause();
    voice = { sound, audio };
    audio.muted = false;
    if (!state.playing) audio.pause();
    forget();
    paint();
  }

  function start(audio, then) {
    audio.play().then(then || paint, (error) => {
      if (error.name !== "NotAllowedError") return; // paused again before it began, or a file that `fail` hears of
      state.playing = false;
      relieve([...voices].find(([, held]) => held === audio)[0], audio);
    });
  }

  // Other items' audio is let go of: a browser plays only so many at once.
  function forget() {
    for (const [sound, audio] of voices) {
      if (item().sounds.includes(sound) || (voice && voice.audio === audio)) continue;
      voices.delete(sound);
      audio.remove();
      audio.removeAttribute("src");
      audio.load();
    }
  }

  function ended(audio) {
    if (!voice || voice.audio !== audio || coming) return;
    const time = voice.sound.seconds;
    if (time < reach() - EDGE) return go(time, false);
    state.playing = false;
    state.place = time;
    paint();
  }

  function toggle() {
    state.place = moment();
    state.playing = !state.playing && Boolean(choice(state.place));
    if (state.playing) return go(state.place >= reach() - EDGE ? 0 : state.place, !voice || state.place >= reach() - EDGE);
    if (voice) voice.audio.pause();
    paint();
  }

  function wish(level) {
    state.wanted = level;
    go(moment(), false);
  }

  function turnTo(index) {
    const time = moment();
    state.index = (index + song.items.length) % song.items.length;
    showItem();
    go(time, false);
  }

  function seek(time) {
    go(time);
  }

  // ---- what is seen

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") element.addEventListener("click", value);
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  const buttons = []; // of levels, with what each stands for
  const cards = []; // of items
  const lanes = []; // of all sounds: {index, sound, row, cursor, strip}
  const rows = []; // of the lyrics' lines: {line, button}

  function build() {
    const levels = [...new Set(song.items.flatMap((one) => one.sounds.map((sound) => sound.level)))].sort();
    for (const level of [BEST, ...levels]) {
      const name = level === BEST ? "Best" : `Level ${level}`;
      const title = level === BEST ? "For each moment the best level that is made" : "";
      const button = make("button", { type: "button", title, onclick: () => wish(level) }, name);
      buttons.push({ level, button });
      byId("levels").append(button);
    }
    song.items.forEach((one, index) => {
      const name = make("button", { type: "button", class: "name", onclick: () => turnTo(index) }, `Item ${one.item}`);
      const card = make("section", { class: "item", "aria-label": `Item ${one.item}` }, make("h2", {}, name));
      for (const sound of one.sounds) card.append(lane(index, one, sound));
      cards.push({ card, name });
      byId("items").append(card);
    });
    byId("player").hidden = false;
  }

  function lane(index, one, sound) {
    const choose = () => {
      if (index !== state.index) turnTo(index);
      wish(sound.level);
    };
    const badge = make("button", { type: "button", class: "badge", onclick: choose, "aria-label": `Level ${sound.level} of item ${one.item}` }, String(sound.level));
    const cursor = make("div", { class: "cursor" });
    const strip = make("div", { class: "strip" });
    const made = make("div", { class: "made" });
    if (sound.picture) {
      const alt = `Waveform and spectrogram of item ${one.item} at level ${sound.level}`;
      made.append(make("img", { src: sound.picture, alt, draggable: "false" }));
    }
    made.style.width = `${(100 * sound.seconds) / song.seconds}%`;
    strip.append(made, cursor);
    strip.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      const time = ((event.clientX - box.left) / box.width) * song.seconds;
      if (index !== state.index) turnTo(index);
      if (state.wanted !== BEST) state.wanted = sound.level;
      seek(time);
    });
    const row = make("div", { class: "lane" }, badge, strip);
    lanes.push({ index, sound, row, badge, cursor });
    return row;
  }

  function showItem() {
    const one = item();
    rows.length = 0;
    byId("lines").replaceChildren(
      ...one.lines.map((line) => {
        const button = make("button", { type: "button", onclick: () => seek(line.start) }, line.text);
        button.title = clock(line.start);
        rows.push({ line, button });
        return make("li", {}, button);
      }),
    );
    byId("lines").hidden = !one.lines.length;
    byId("untimed").hidden = Boolean(one.lines.length);
    byId("given").open = !one.lines.length;
    byId("words").hidden = !byId("lyrics").textContent.trim() && !one.lines.length;
    byId("attention").hidden = !one.heat_map;
    if (one.heat_map) byId("heat-map").src = one.heat_map;
  }

  function paint() {
    const heard = choice(moment());
    for (const { level, button } of buttons) button.setAttribute("aria-pressed", level === state.wanted);
    cards.forEach(({ card, name }, index) => {
      card.classList.toggle("chosen", index === state.index);
      name.setAttribute("aria-pressed", index === state.index);
    });
    for (const { sound, row, badge } of lanes) {
      row.classList.toggle("heard", sound === heard);
      row.classList.toggle("broken", broken.has(sound));
      badge.setAttribute("aria-pressed", sound === heard);
    }
    byId("play").classList.toggle("playing", state.playing);
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    byId("duration").textContent = clock(reach());
    byId("seek").max = reach();
    const says = sentence(heard);
    if (byId("says").textContent !== says) byId("says").textContent = says;
    move();
    if (state.playing && !follow) follow = requestAnimationFrame(tick);
  }

  function sentence(heard) {
    const lost = item().sounds.filter((sound) => broken.has(sound));
    const gone = lost.map((sound) => `Level ${sound.level} of item ${item().item} cannot be played; is its file still beside this page? `).join("");
    if (!heard) return `${gone}Nothing of item ${item().item} can be heard.`;
    const playing = `${gone}Item ${item().item}, level ${heard.level}`;
    if (state.wanted === BEST) return `${playing}: the best that is made at this moment.`;
    if (heard.level === state.wanted) return `${playing}.`;
    const wanted = whole(item().sounds).find((sound) => sound.level === state.wanted);
    const why = wanted ? `level ${state.wanted} is made up to ${clock(wanted.seconds)} so far` : `level ${state.wanted} is not there`;
    return `${playing}: ${why}.`;
  }

  // What moves while the song plays.
  function move() {
    const time = moment();
    for (const { index, cursor } of lanes) {
      cursor.hidden = index !== state.index;
      cursor.style.left = `${clamp((100 * time) / song.seconds, 0, 100)}%`;
    }
    byId("time").textContent = clock(time);
    byId("seek").value = time;
    byId("seek").setAttribute("aria-valuetext", `${clock(time)} of ${clock(reach())}`);
    byId("seek").style.setProperty("--done", `${reach() ? (100 * time) / reach() : 0}%`);
    for (const { line, button } of rows) {
      const now = time >= line.start && time < line.end;
      if (now === button.hasAttribute("aria-current")) continue;
      if (now) {
        button.setAttribute("aria-current", "true");
        const list = byId("lines");
        list.scrollTop = button.offsetTop - list.offsetTop - list.clientHeight / 2 + button.offsetHeight;
      } else button.removeAttribute("aria-current");
    }
  }

  function tick() {
    follow = 0;
    if (!state.playing) return;
    follow = requestAnimationFrame(tick);
    if (voice && !coming) {
      state.place = voice.audio.currentTime;
      const sound = choice(state.place);
      if (sound && sound !== voice.sound) return go(state.place, false);
    }
    move();
  }

  // ---- keys and knobs

  const KEYS = {
    " ": toggle,
    ArrowLeft: () => seek(moment() - STEP),
    ArrowRight: () => seek(moment() + STEP),
    b: () => wish(BEST),
    n: () => turnTo(state.index + 1),
    p: () => turnTo(state.index - 1),
  };

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const own = { " ": "button, summary, a", ArrowLeft: "input, pre", ArrowRight: "input, pre" }[event.key];
    if (own && event.target.closest && event.target.closest(own)) return; // it does something there already
    const level = buttons.find((one) => String(one.level) === event.key);
    const act = KEYS[event.key] || (level && (() => wish(level.level)));
    if (!act) return;
    event.preventDefault();
    act();
  }

  if (!song.items.length) {
    byId("silent").hidden = false;
    return;
  }
  build();
  showItem();
  byId("play").addEventListener("click", toggle);
  byId("seek").addEventListener("input", (event) => seek(Number(event.target.value)));
  byId("volume").addEventListener("input", (event) => {
    state.volume = Number(event.target.value);
    if (voice) voice.audio.volume = state.volume;
  });
  document.addEventListener("keydown", key);
  // A button that was clicked lets the keys go, so that space plays and pauses; one reached by Tab keeps them.
  byId("player").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.detail && button) button.blur();
  });
  go(0);
})();
