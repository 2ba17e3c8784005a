// The stock JavaScript client, driven line by line: a JSON command on stdin, its result and every event on stdout.
import { createInterface } from 'node:readline';
import { Centrifuge } from 'centrifuge';

const [url, token] = process.argv.slice(2);
const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

const client = new Centrifuge(url, { token, minReconnectDelay: 100, maxReconnectDelay: 500 });
for (const event of ['connecting', 'connected', 'disconnected', 'error']) {
  client.on(event, (context) => say({ event, code: context.code ?? context.error?.code, reason: context.reason }));
}

const subscriptions = new Map();

function subscriptionTo(channel) {
  let subscription = subscriptions.get(channel);
  if (!subscription) {
    subscription = client.newSubscription(channel, { minResubscribeDelay: 100, maxResubscribeDelay: 500 });
    subscriptions.set(channel, subscription);
    subscription.on('subscribed', ({ wasRecovering, recovered }) =>
      say({ event: 'subscribed', channel, was_recovering: wasRecovering, recovered }));
    subscription.on('unsubscribed', ({ code, reason }) => say({ event: 'unsubscribed', channel, code, reason }));
    subscription.on('error', ({ error }) => say({ event: 'error', channel, code: error.code }));
    subscription.on('publication', ({ data, offset, info, tags }) =>
      say({ event: 'publication', channel, data, offset, user: info?.user, tags }));
  }
  return subscription;
}

const verbs = {
  connect: async () => { client.connect(); await client.ready(5000); },
  disconnect: async () => client.disconnect(),
  subscribe: async ({ channel }) => { subscriptionTo(channel).subscribe(); await subscriptionTo(channel).ready(5000); },
  unsubscribe: async ({ channel }) => subscriptionTo(channel).unsubscribe(),
  publish: async ({ channel, data }) => client.publish(channel, data),
  history: async ({ channel, limit }) => {
    const found = await client.history(channel, { limit });
    return { data: found.publications.map((publication) => publication.data), offset: found.offset, epoch: found.epoch };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, verb, ...given } = JSON.parse(line);
  verbs[verb](given).then(
    (result) => say({ id, result: result ?? null }),
    (error) => say({ id, error: { code: error.code ?? 0, message: error.message } }),
  );
}
client.disconnect();
