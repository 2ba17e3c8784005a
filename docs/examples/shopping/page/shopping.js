// A shared shopping list. The browser's session cookie says who connects, and the application who may see which list.
// The application serves the page, the items and the forms; Fairlead delivers changes, presence and RPCs.

const at = (id) => document.getElementById(id);

/** Asks the application; its answer, or an Error with its words. */
async function ask(path, body) {
  const csrf = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1]; // Django's
  const headers = { 'Content-Type': 'application/json', ...(csrf && { 'X-CSRFToken': csrf }) };
  const answer = await fetch(path, body === undefined ? {} : { method: 'POST', headers, body: JSON.stringify(body) });
  const told = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail ?? `status ${answer.status}`);
  return told;
}

class ShoppingList {
  constructor(client, id) {
    this.client = client;
    this.id = id;
    this.items = new Map();
    this.here = new Set();
    this.left = new Map(); // user -> when they left, in Unix seconds
    this.loading = null; // changes that arrive while the items are being loaded
  }

  open() {
    this.subscription = this.client
      .newSubscription(`lists:${this.id}`)
      .on('subscribed', ({ wasRecovering, recovered }) => {
        at('content').hidden = false;
        if (!(wasRecovering && recovered)) this.load(); // otherwise everything that was missed arrives as publications
        this.showPeople();
      })
      .on('unsubscribed', ({ reason }) => {
        at('content').hidden = true;
        notice(`You may not see this list: ${reason}`);
      })
      .on('publication', ({ data }) => (this.loading ? this.loading.push(data) : this.change(data)))
      .on('join', () => this.showPeople())
      .on('leave', () => this.showPeople());
    this.subscription.subscribe();
  }

  /** Changes that come meanwhile may be in what is loaded already: to apply them again does no harm. */
  async load() {
    const changes = (this.loading = []);
    try {
      const { name, items, left } = await ask(`/lists/${this.id}`);
      if (this.loading !== changes) return; // a later load has begun
      at('title').textContent = name;
      this.items = new Map(items.map((item) => [item.id, item]));
      this.left = new Map(left.map(({ name, at }) => [name, at]));
    } catch (error) {
      notice(`The list could not be loaded: ${error.message}`);
    }
    if (this.loading !== changes) return;
    this.loading = null;
    changes.forEach((change) => this.change(change));
    this.show();
  }

  change({ item, nudge, left }) {
    if (nudge) notice(`${nudge} asks: who is going?`);
    if (item) this.items.set(item.id, item);
    if (left) this.left.set(left.name, left.at);
    this.show();
  }

  show() {
    const lines = [...this.items.values()].map((item) => {
      const line = document.createElement('li');
      const button = line.appendChild(document.createElement('button'));
      line.className = item.bought ? 'bought' : '';
      button.textContent = item.text;
      button.disabled = item.bought;
      button.onclick = () => this.client.rpc('buy', { item: item.id }).catch(({ message }) => notice(message));
      return line;
    });
    at('items').replaceChildren(...lines);
    at('people').textContent = [...this.here].sort().join(', ');
    const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { timeStyle: 'short' });
    const gone = [...this.left].filter(([name]) => !this.here.has(name)).sort();
    at('gone').textContent = gone.map(([name, seconds]) => `${name} left at ${time(seconds)}`).join(', ');
  }

  async showPeople() {
    const { clients } = await this.subscription.presence().catch(() => ({})); // the subscription may have ended
    if (!clients) return;
    this.here = new Set(Object.values(clients).map(({ connInfo }) => connInfo.name));
    this.show();
  }
}

function notice(text) {
  at('notice').textContent = text;
}

async function enter() {
  const { user, realtime, list } = await ask('/me');
  at('login').hidden = Boolean(user);
  at('list').hidden = !user;
  if (!user) return;
  const client = new Centrifuge(realtime); // no token: the cookie is sent along
  client
    .on('connecting', () => (at('state').textContent = 'connecting'))
    .on('connected', () => (at('state').textContent = 'online'))
    .on('disconnected', async ({ reason }) => {
      at('state').textContent = `offline: ${reason}`;
      const { user } = await ask('/me').catch(() => ({ user: 'somebody' }));
      if (!user) location.reload(); // the session has ended: log in again
    });
  const shown = new ShoppingList(client, Number(new URLSearchParams(location.search).get('list') ?? list));
  shown.open();
  client.connect();

  const form = (id, what) => {
    at(id).onsubmit = (event) => {
      event.preventDefault();
      notice('');
      what().catch((error) => notice(error.message));
    };
  };
  form('add', async () => {
    await ask(`/lists/${shown.id}/items`, { text: at('text').value });
    at('text').value = '';
  });
  at('nudge').onclick = () => ask(`/lists/${shown.id}/nudge`, {}).catch((error) => notice(error.message));
  at('logout').onclick = () => ask('/logout', {}).then(() => location.reload(), (error) => notice(error.message));
}

at('login').onsubmit = async (event) => {
  event.preventDefault();
  try {
    await ask('/login', { name: at('name').value, password: at('password').value });
    at('login-error').textContent = '';
    await enter();
  } catch (error) {
    at('login-error').textContent = error.message;
  }
};

enter();
