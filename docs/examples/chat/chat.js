// A chat on the stock Centrifuge client. A message counts as sent once it is stored, a client receives what it missed when
// it reconnects, and the list of people comes from presence, joins and leaves.

const HISTORY = 50;
const SHOWN = 500; // lines that are kept on the page
const RETRY_MS = 500;

const at = (id) => document.getElementById(id);

// --- the room -------------------------------------------------------------------------------------------------------

class Room {
  constructor(user, room) {
    this.user = user;
    this.channel = `chat:${room}`;
    this.view = new View(user);
    this.members = new Map(); // client id -> user
    this.changes = null; // joins and leaves received while the presence call runs
    this.awaySince = 0;
    this.sent = Promise.resolve(); // resolves when the previous message is stored
    this.recovering = 0; // messages counted during a recovery
  }

  async enter() {
    const { address } = await this.ticket();
    this.client = new Centrifuge(address, { getToken: async () => (await this.ticket()).token });
    this.client
      .on('connecting', () => {
        this.view.state('connecting');
        this.awaySince ||= Date.now();
      })
      .on('connected', () => this.view.state('connected'))
      .on('disconnected', ({ code, reason }) => {
        this.view.state('disconnected', code ? reason : '');
        this.awaySince ||= Date.now();
      });
    this.subscription = this.client
      .newSubscription(this.channel)
      .on('subscribed', (context) => this.subscribed(context))
      .on('unsubscribed', ({ reason }) => this.view.event(`You cannot be here: ${reason}`, 'lost'))
      .on('publication', (publication) => this.published(publication))
      .on('join', ({ info }) => this.joined(info))
      .on('leave', ({ info }) => this.left(info));
    this.subscription.subscribe();
    this.client.connect();
  }

  /** Where to connect, and with which token. A real backend knows who is asking. */
  async ticket() {
    const answer = await fetch(`token?user=${encodeURIComponent(this.user)}`);
    const ticket = await answer.json();
    if (!answer.ok) throw new Error(ticket.error);
    return ticket;
  }

  toggle() {
    if (this.client.state === 'disconnected') this.client.connect();
    else this.client.disconnect();
  }

  // --- subscribing, and coming back ---

  subscribed({ wasRecovering, recovered, streamPosition }) {
    const away = (Date.now() - this.awaySince) / 1000;
    this.awaySince = 0;
    if (this.epoch !== streamPosition.epoch) this.view.renumber(); // offsets have a meaning only within one epoch
    this.epoch = streamPosition.epoch;
    this.meet();
    if (!wasRecovering) {
      this.readHistory();
    } else if (!recovered) {
      this.view.event('You were away for too long: not everything could be brought back.', 'lost');
      this.readHistory();
    } else {
      this.recovering = 0; // the missed messages arrive in this turn of the event loop, right after this event
      queueMicrotask(() => this.view.back(away, this.recovering));
    }
  }

  async readHistory() {
    const found = await this.told('history', () => this.subscription.history({ limit: HISTORY, reverse: true }));
    for (const publication of found?.publications.reverse() ?? []) this.published(publication);
  }

  // --- messages ---

  published({ data, info, offset }) {
    this.recovering += 1;
    if (typeof data?.text === 'string') this.view.message({ ...data, user: info ? named(info) : 'a backend', offset });
  }

  /** Shows a message at once, and sends one after the other, so that they keep their order. */
  say(text) {
    const message = { text, at: Date.now(), key: crypto.randomUUID() };
    this.view.message({ ...message, user: this.user, offset: Infinity });
    this.sent = this.sent.then(() => this.send(message));
  }

  /** Sends with a key: repeated until it is known to be stored, and stored once. */
  async send(message) {
    try {
      const { data } = await this.again(() =>
        this.client.rpc('fairlead.publish', { channel: this.channel, idempotency_key: message.key, data: message }));
      this.view.message({ ...message, user: this.user, offset: data.offset });
    } catch (error) {
      this.view.failed(message.key, error.message);
    }
  }

  /** The answer to a question, repeated while it may still succeed. */
  async again(ask) {
    for (;;) {
      try {
        await this.subscription.ready();
        return await ask();
      } catch (error) {
        const refused = error.code >= 100 && !error.temporary; // below 100: the client's own, such as a timeout
        if (this.subscription.state === 'unsubscribed' || (refused && this.subscription.state === 'subscribed')) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** The same, or undefined after an error, which the page then shows. */
  async told(what, ask) {
    try {
      return await this.again(ask);
    } catch (error) {
      this.view.event(`No ${what}: ${error.message}`, 'lost');
      return undefined;
    }
  }

  // --- who is there ---

  async meet() {
    const changes = (this.changes = []);
    const found = await this.told('presence', () => this.subscription.presence());
    if (changes !== this.changes) return; // a later call replaces this one
    this.changes = null;
    this.members = new Map(Object.values(found?.clients ?? {}).map((info) => [info.client, named(info)]));
    for (const change of changes) change(); // joins and leaves that arrived in the meantime are newer
    this.view.people(this.members);
  }

  joined(info) {
    const user = named(info);
    this.change(() => {
      const known = this.isHere(user);
      this.members.set(info.client, user);
      if (!known && user !== this.user) this.view.event(`${user} joined`);
    });
  }

  left(info) {
    const user = named(info);
    this.change(() => {
      const known = this.members.delete(info.client);
      if (known && !this.isHere(user) && user !== this.user) this.view.event(`${user} left`);
    });
  }

  change(apply) {
    if (this.changes) this.changes.push(apply);
    else {
      apply();
      this.view.people(this.members);
    }
  }

  isHere(user) {
    return [...this.members.values()].includes(user);
  }
}

// --- the page -------------------------------------------------------------------------------------------------------

/** Text is only ever set as text: nothing that people write becomes markup. */
class View {
  constructor(user) {
    this.user = user;
    this.log = at('log');
    this.byKey = new Map(); // lines without an offset yet
    this.offsets = new Set(); // of the lines that have one already
  }

  state(state, reason = '') {
    at('state').dataset.state = state;
    at('state').textContent = reason ? `${state}: ${reason}` : { connected: 'online', disconnected: 'offline' }[state] ?? state;
    at('toggle').textContent = state === 'disconnected' ? 'Go online' : 'Go offline';
    at('people').classList.toggle('stale', state !== 'connected');
  }

  back(seconds, count) {
    const missed = { 0: 'you missed nothing', 1: '1 message was kept for you' }[count] ?? `${count} messages were kept for you`;
    this.event(`Back after ${seconds.toFixed(1)} s: ${missed}`, 'recovered');
  }

  event(text, kind = '') {
    this.add(element('li', `event ${kind}`, text), NaN);
  }

  /** Shows a message at its place, once. Without one (an offset of infinity) it waits at the end. */
  message({ text, at: sent, key, user, offset }) {
    if (this.offsets.has(offset)) return;
    let line = user === this.user ? this.byKey.get(key) : undefined;
    if (!line) {
      line = element('li', user === this.user ? 'message mine' : 'message');
      line.dataset.user = user;
      const who = element('p', 'who', user === this.user ? 'You' : user);
      if (Number.isFinite(sent)) who.append(element('time', '', clock.format(sent)));
      line.append(who, face(user), element('p', 'text', text), element('p', 'fate'));
    }
    const waits = offset === Infinity;
    line.classList.toggle('pending', waits);
    line.querySelector('.fate').textContent = waits ? 'sending' : '';
    if (waits) this.byKey.set(key, line);
    else {
      this.byKey.delete(key);
      this.offsets.add(offset);
    }
    this.add(line, offset);
  }

  /** What is shown already comes before everything else from now on. */
  renumber() {
    this.offsets.clear();
    for (const line of this.log.children) if (Number.isFinite(line.offset)) line.offset = 0;
  }

  failed(key, why) {
    const line = this.byKey.get(key);
    line?.classList.add('failed');
    if (line) line.querySelector('.fate').textContent = `not sent: ${why}`;
  }

  add(line, offset) {
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
    line.offset = offset; // NaN for an event, which is placed after everything so far
    const others = [...this.log.children].filter((other) => other !== line);
    const next = others.find((other) => other.offset > (Number.isNaN(offset) ? Number.MAX_VALUE : offset)) ?? null;
    if (!line.isConnected || line.nextElementSibling !== next) this.log.insertBefore(line, next);
    while (this.log.children.length > SHOWN) this.log.firstChild.remove();
    for (const each of this.log.children) {
      const before = each.previousElementSibling;
      each.classList.toggle('follows', Boolean(before?.dataset.user) && before.dataset.user === each.dataset.user);
    }
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  people(members) {
    const counts = new Map();
    for (const user of members.values()) counts.set(user, (counts.get(user) ?? 0) + 1);
    const users = [...counts.keys()].sort((a, b) => (b === this.user) - (a === this.user) || a.localeCompare(b));
    at('people-title').textContent = `People (${users.length})`;
    at('people').replaceChildren(
      ...users.map((user) => {
        const line = element('li');
        const note = [user === this.user && 'you', counts.get(user) > 1 && `${counts.get(user)} windows`].filter(Boolean);
        line.append(face(user), element('span', 'name', user), element('span', 'note', note.join(', ')));
        return line;
      }),
    );
  }
}

function named(info) {
  return info.user || 'anonymous';
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

function element(tag, kind = '', text = '') {
  const made = document.createElement(tag);
  made.className = kind;
  made.textContent = text;
  return made;
}

function face(user) {
  const made = element('span', 'face', [...user][0]);
  made.ariaHidden = 'true';
  const hue = [...user].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  made.style.setProperty('--hue', hue);
  return made;
}

// --- the forms ------------------------------------------------------------------------------------------------------

let room;

at('enter').addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = at('name').value.trim();
  room = new Room(name, at('room').value);
  try {
    await room.enter();
  } catch (error) {
    at('enter-error').textContent = error.message;
    return;
  }
  document.title = `${at('room').value} - Fairlead chat`;
  at('title').textContent = `# ${at('room').value}`;
  at('welcome').hidden = true;
  at('chat').hidden = false;
  at('text').focus();
});

at('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = at('text').value.trim();
  at('text').value = '';
  if (text) room.say(text);
});

at('toggle').addEventListener('click', () => room.toggle());
