// The stock JavaScript client, driven line by line: a JSON command comes in, its result and every event go out.
// The process listens on a socket, whose path is its argument, until its stdin ends: one for many tests, as a start of
// Node takes longer than most of them. Each test has a connection, which holds its clients by number and disconnects
// them at its end. Bytes, which only the Protobuf build has, travel as {"$b64": "..."}.
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import * as json from 'centrifuge';
import * as protobuf from 'centrifuge/build/protobuf';

const READY_MS = 5000;
const builds = { json, protobuf };

function toBase64(key, value) {
  const given = this[key]; // `value` went through toJSON already
  return given instanceof Uint8Array ? { $b64: Buffer.from(given).toString('base64') } : value;
}
const fromBase64 = (key, value) =>
  typeof value?.$b64 === 'string' ? new Uint8Array(Buffer.from(value.$b64, 'base64')) : value;
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

// The options as the SDK names them; true for a callback stands for asking the test.
function optionsOf(given, ask) {
  return Object.fromEntries(Object.entries(given).map(([name, value]) =>
    [camel(name), name.startsWith('get_') ? () => ask(name) : value]));
}

const who = (info) => info && {
  user: info.user, client: info.client, conn_info: info.connInfo ?? null, chan_info: info.chanInfo ?? null,
};
const publicationOf = ({ data, offset, info, tags }) =>
  ({ data, offset: offset ?? 0, tags: tags ?? {}, info: who(info), user: info?.user });
const contexts = {
  connecting: ({ code, reason }) => ({ code, reason }),
  connected: ({ client, data, transport }) => ({ client_id: client, data: data ?? null, transport }),
  disconnected: ({ code, reason }) => ({ code, reason }),
  error: ({ type, error }) => ({ type, code: error.code }),
  message: ({ data }) => ({ data }),
  subscribing: ({ code, reason }) => ({ code, reason }),
  subscribed: (context) => ({
    recoverable: context.recoverable, positioned: context.positioned,
    position: context.streamPosition ?? null,
    was_recovering: context.wasRecovering, recovered: context.recovered, data: context.data ?? null,
  }),
  unsubscribed: ({ code, reason }) => ({ code, reason }),
  publication: publicationOf,
  join: ({ info }) => ({ info: who(info) }),
  leave: ({ info }) => ({ info: who(info) }),
};
const makers = { stream: 'newSubscription', map: 'newMapSubscription', shared_poll: 'newSharedPollSubscription' };
const ofSubscriptions = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave'];
const ofClients = ['connecting', 'connected', 'disconnected', 'error', 'message'];

class Driven {
  constructor(test, number, url, encoding, given) {
    this.test = test;
    this.number = number;
    this.subscriptions = new Map();
    const fast = { minReconnectDelay: 100, maxReconnectDelay: 500 };
    this.client = new builds[encoding].Centrifuge(url, { ...fast, ...optionsOf(given, (what) => test.ask(number, what)) });
    for (const event of [...ofClients, ...ofSubscriptions]) { // of subscriptions by the server
      this.client.on(event, (context) =>
        test.say({ client: number, event, channel: context.channel, ...contexts[event](context) }));
    }
  }

  subscription(channel, given = {}) {
    let subscription = this.subscriptions.get(channel);
    if (!subscription) {
      const { kind, ...options } = given;
      const fast = { minResubscribeDelay: 100, maxResubscribeDelay: 500 };
      subscription = this.client[makers[kind ?? 'stream']](
        channel, { ...fast, ...optionsOf(options, (what) => this.test.ask(this.number, what, channel)) });
      this.subscriptions.set(channel, subscription);
      for (const event of [...ofSubscriptions, 'error']) {
        subscription.on(event, (context) =>
          this.test.say({ client: this.number, event, channel, ...contexts[event](context) }));
      }
    }
    return subscription;
  }

  async connect({ wait }) {
    this.client.connect();
    if (wait) await this.client.ready(READY_MS);
  }

  async disconnect() { this.client.disconnect(); }

  async subscribe({ channel, wait, options }) {
    const subscription = this.subscription(channel, options);
    subscription.subscribe();
    if (wait) await subscription.ready(READY_MS);
  }

  async unsubscribe({ channel }) { this.subscription(channel).unsubscribe(); }

  // `own`: by the method of the subscription, not of the client
  async publish({ channel, data, own }) {
    return own ? this.subscription(channel).publish(data) : this.client.publish(channel, data);
  }

  async history({ channel, options, own }) {
    const found = own ? await this.subscription(channel).history(options) : await this.client.history(channel, options);
    return { publications: found.publications.map(publicationOf), offset: found.offset, epoch: found.epoch };
  }

  async presence({ channel, own }) {
    const found = own ? await this.subscription(channel).presence() : await this.client.presence(channel);
    return Object.fromEntries(Object.entries(found.clients).map(([number, info]) => [number, who(info)]));
  }

  async presence_stats({ channel, own }) {
    const found = own ? await this.subscription(channel).presenceStats() : await this.client.presenceStats(channel);
    return { num_clients: found.numClients, num_users: found.numUsers };
  }

  async rpc({ method, data }) { return (await this.client.rpc(method, data)).data; }
  async send({ data }) { await this.client.send(data); }
  async deltas({ channel }) { return this.subscription(channel).deltaStats().numDeltaPayloads; }

  // Everything in one frame.
  async batch({ channel, items }) {
    this.client.startBatching();
    const done = Promise.all(items.map((data) => this.client.publish(channel, data)));
    this.client.stopBatching();
    await done;
  }
}

class Test {
  constructor(socket) {
    this.socket = socket;
    this.clients = new Map();
    this.asked = new Map();
    this.questions = 0;
  }

  say(message) {
    if (this.socket.writable) this.socket.write(JSON.stringify(message, toBase64) + '\n');
  }

  // The test answers, as the backend of an application would.
  ask(client, what, channel) {
    return new Promise((resolve, reject) => {
      this.asked.set(++this.questions, { resolve, reject });
      this.say({ client, question: this.questions, what, channel });
    });
  }

  answer({ question, value, failure, encoding }) {
    const { resolve, reject } = this.asked.get(question);
    this.asked.delete(question);
    if (failure === 'unauthorized') reject(new builds[encoding].UnauthorizedError('the application says no'));
    else if (failure) reject(new Error(failure));
    else resolve(value);
  }

  obey({ id, client, verb, ...given }) {
    if (verb === 'answer') {
      this.answer(given);
    } else if (verb === 'start') {
      this.say({ id, result: null });
    } else if (verb === 'new') {
      this.clients.set(client, new Driven(this, client, given.url, given.encoding, given.options));
    } else {
      this.clients.get(client)[verb](given).then(
        (result) => this.say({ id, result: result ?? null }),
        (error) => this.say({ id, error: { code: error.code ?? 0, message: String(error.message) } }),
      );
    }
  }

  async run() {
    for await (const line of createInterface({ input: this.socket })) this.obey(JSON.parse(line, fromBase64));
    for (const { client } of this.clients.values()) client.disconnect();
    this.socket.end();
  }
}

createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => {}); // a test that was ended
  new Test(socket).run();
}).listen(process.argv[2], () => console.log('listening'));
process.stdin.on('end', () => process.exit()).resume();
