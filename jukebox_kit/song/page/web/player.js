"use strict";

// What is heard: items, their levels, one moment of the song.
//
// One <audio> sounds at a time, the `voice`. Another level or item is brought in at the voice's own moment, and the
// voice gives way only when the other can be heard, so that switching neither loses the place nor leaves a gap. Sounds
// are named by the page, by relative names or data: URIs; nothing here asks for anything else.

const BEST = "best";
const EDGE = 0.04; // seconds before a level's end at which another one takes over

// song: {seconds, items: [{item, sounds: [{level, audio, picture, seconds}, best first], …}]}; place: where <audio> is
// put; changed: called when something other than the moment is no longer what it was.
function makePlayer(song, place, changed) {
  const state = { index: 0, wanted: BEST, playing: false, moment: 0, volume: 1 };
  const voices = new Map(); // sound → <audio>
  const broken = new Set(); // sounds whose files cannot be played
  let voice = null; // what is heard: {sound, audio}
  let coming = null; // what takes over as soon as it can be heard: {audio, left}, `left` what sounds until then

  const item = () => song.items[state.index];
  const playable = () => item().sounds.filter((sound) => !broken.has(sound));
  const reach = () => Math.max(0, ...playable().map((sound) => sound.seconds));

  // The moment of the song: the voice tells it while it sounds, unless it is about to be left for another moment.
  function moment() {
    const sounding = voice && !voice.audio.paused && (!coming || coming.left);
    return sounding ? voice.audio.currentTime : state.moment;
  }

  // The sound to be heard at a moment: the level wanted where it reaches, else the best that does.
  function choice(time) {
    const reaching = playable().filter((sound) => time < sound.seconds - EDGE);
    const longest = playable().filter((sound) => sound.seconds >= reach() - EDGE);
    const sounds = reaching.length ? reaching : longest;
    return sounds.find((sound) => sound.level === state.wanted) || sounds[0] || null;
  }

  // Hear the song at a moment, by the sound that is to be heard there. With `jump` it is another moment than now.
  function go(time, jump = true) {
    state.moment = Math.min(Math.max(time, 0), reach());
    const sound = choice(state.moment);
    if (!sound) {
      if (voice) voice.audio.pause();
      state.playing = false;
      voice = coming = null;
    } else if (voice && voice.sound === sound) {
      coming = null;
      if (jump || voice.audio.paused) voice.audio.currentTime = state.moment;
      if (state.playing) start(voice.audio, changed);
    } else {
      take(sound, jump);
    }
    changed();
  }

  function take(sound, jump) {
    const audio = audioOf(sound);
    const left = voice && !jump ? voice.audio : null;
    if (voice && jump) voice.audio.pause();
    const mine = (coming = { audio, left });
    const enter = () => {
      if (coming !== mine) return; // something else was chosen meanwhile
      audio.currentTime = state.moment = Math.min(moment(), sound.seconds);
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
    if (!coming || coming.audio !== audio) return audio.pause(); // another one was chosen meanwhile
    coming = null;
    if (voice && voice.audio !== audio) voice.audio.pause();
    voice = { sound, audio };
    audio.muted = false;
    if (!state.playing) audio.pause();
    forget();
    changed();
  }

  function start(audio, then) {
    audio.play().then(then, (error) => {
      if (error.name !== "NotAllowedError") return; // paused again before it began, or a file that `fail` hears of
      state.playing = false;
      go(state.moment);
    });
  }

  function audioOf(sound) {
    if (!voices.has(sound)) {
      const audio = new Audio();
      audio.preload = "auto";
      audio.src = sound.audio;
      audio.addEventListener("error", () => voices.get(sound) === audio && fail(sound));
      audio.addEventListener("ended", () => ended(audio));
      place.append(audio);
      voices.set(sound, audio);
    }
    return voices.get(sound);
  }

  // Other items' audio is let go of: a browser keeps only so many open.
  function forget() {
    for (const [sound, audio] of voices) {
      if (item().sounds.includes(sound) || audio === voice.audio) continue;
      voices.delete(sound);
      audio.remove();
      audio.removeAttribute("src");
      audio.load();
    }
  }

  function fail(sound) {
    const time = moment();
    broken.add(sound);
    coming = null;
    if (voice && voice.sound === sound) voice = null;
    go(time, !voice);
  }

  function ended(audio) {
    if (!voice || voice.audio !== audio || coming) return;
    const time = voice.sound.seconds;
    if (time < reach() - EDGE) return go(time, true);
    state.playing = false;
    state.moment = time;
    changed();
  }

  function toggle() {
    state.moment = moment();
    state.playing = !state.playing;
    const over = state.moment >= reach() - EDGE;
    if (state.playing) return go(over ? 0 : state.moment, over);
    if (voice) voice.audio.pause();
    changed();
  }

  // Choose a level, or BEST: the best available at each moment.
  function wish(level) {
    state.wanted = level;
    go(moment(), false);
  }

  function turnTo(index) {
    const time = moment();
    state.index = (index + song.items.length) % song.items.length;
    go(time, false);
  }

  // Where the level that sounds ends here, another takes over; called while the song plays.
  function keepUp() {
    if (!state.playing || !voice || coming) return;
    state.moment = moment();
    const sound = choice(state.moment);
    if (sound && sound !== voice.sound) go(state.moment, false);
  }

  function setVolume(volume) {
    state.volume = volume;
    for (const audio of voices.values()) audio.volume = volume;
  }

  return { state, broken, item, reach, moment, choice, go, toggle, wish, turnTo, keepUp, setVolume };
}
