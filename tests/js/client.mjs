// The stock JavaScript client, driven line by line: a JSON command on stdin, its result and every event on stdout.
// One process holds all clients of a test, by number. Bytes, which only the Protobuf build has, travel as {"$b64": "..."}.
import { createInterface } from 'node:readline';
import * as json from 'centrifuge';
import * as protobuf from 'centrifuge/build/protobuf';

const READY_MS = 5000;
const builds = { json, protobuf };
const clients = new Map();
const asked = new Map();
let questions = 0;

function toBase64(key, value) {
  const given = this[key]; // `value` went through toJSON already
  return given instanceof Uint8Array ? { $b64: Buffer.from(given).toString('base64') } : value;
}
const fromBase64 = (key, value) =>
  typeof value?.$b64 === 'string' ? new Uint8Array(Buffer.from(value.$b64, 'base64')) : value;
const say = (message) => process.stdout.write(JSON.stringify(message, toBase64) + '\n');

// The test answers, as the backend of an application would.
function ask(client, what, channel) {
  return new Promise((resolve, reject) => {
    asked.set(++questions, { resolve, reject });
    say({ client, question: questions, what, channel });
  });
}

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

// The options as the SDK names them; true for a callback stands for asking the test.
function optionsOf(given, client, channel) {
  return Object.fromEntries(Object.entries(given).map(([name, value]) =>
    [camel(name), name.startsWith('get_') ? () => ask(client, name, channel) : value]));
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
  constructor(number, url, encoding, given) {
    this.number = number;
    this.subscriptions = new Map();
    const fast = { minReconnectDelay: 100, maxReconnectDelay: 500 };
    this.client = new builds[encoding].Centrifuge(url, { ...fast, ...optionsOf(given, number) });
    for (const event of [...ofClients, ...ofSubscriptions]) { // of subscriptions by the server
      this.client.on(event, (context) =>
        say({ client: number, event, channel: context.channel, ...contexts[event](context) }));
    }
  }

  subscription(channel, given = {}) {
    let subscription = this.subscriptions.get(channel);
    if (!subscription) {
      const { kind, ...options } = given;
      const fast = { minResubscribeDelay: 100, maxResubscribeDelay: 500 };
      subscription = this.client[makers[kind ?? 'stream']](
        channel, { ...fast, ...optionsOf(options, this.number, channel) });
      this.subscriptions.set(channel, subscription);
      for (const event of [...ofSubscriptions, 'error']) {
        subscription.on(event, (context) =>
          say({ client: this.number, event, channel, ...contexts[event](context) }));
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

function answer({ question, value, failure, encoding }) {
  const { resolve, reject } = asked.get(question);
  asked.delete(question);
  if (failure === 'unauthorized') reject(new builds[encoding].UnauthorizedError('the application says no'));
  else if (failure) reject(new Error(failure));
  else resolve(value);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, client, verb, ...given } = JSON.parse(line, fromBase64);
  if (verb === 'answer') {
    answer(given);
  } else if (verb === 'start') {
    say({ id, result: null });
  } else if (verb === 'new') {
    clients.set(client, new Driven(client, given.url, given.encoding, given.options));
  } else {
    clients.get(client)[verb](given).then(
      (result) => say({ id, result: result ?? null }),
      (error) => say({ id, error: { code: error.code ?? 0, message: String(error.message) } }),
    );
  }
}
for (const { client } of clients.values()) client.disconnect();
