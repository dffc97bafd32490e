// rate-limiter-flexible on the server of the first argument (a unix socket, or host:port), over 1,000
// keys and on one, at 1, 64 and 512 callers: checks a second, and the server's CPU a check.
import Redis from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';

const [at] = process.argv.slice(2);
if (!at) throw new Error('name the server: a unix socket, or host:port');
const client = at.includes('/') ? new Redis({ path: at }) : new Redis(`redis://${at}`);
const limiter = new RateLimiterRedis({ storeClient: client, points: 1e9, duration: 60, keyPrefix: 'flexible' });
const MEASURED_MS = 700;

async function serverMicros() {
  const info = await client.info('cpu');
  const field = (name) => Number(info.match(new RegExp(`${name}:([0-9.]+)`))[1]);
  return (field('used_cpu_sys') + field('used_cpu_user')) * 1e6;
}

async function round(callers, users) {
  let done = 0;
  let next = 0;
  const before = await serverMicros();
  const started = performance.now();
  const caller = async () => {
    while (performance.now() - started < MEASURED_MS) {
      await limiter.consume(`user-${(next++ * 7919) % users}`);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const seconds = (performance.now() - started) / 1e3;
  return { rate: done / seconds, cpu: ((await serverMicros()) - before) / done };
}

console.log('rate-limiter-flexible: keys, callers, checks/s, server CPU µs/check');
for (const users of [1000, 1]) {
  for (const callers of [1, 64, 512]) {
    const rounds = [];
    for (let i = 0; i < 3; i += 1) rounds.push(await round(callers, users));
    rounds.sort((a, b) => a.rate - b.rate);
    const { rate, cpu } = rounds[1];
    console.log(`  ${String(users).padStart(5)} ${String(callers).padStart(4)} ${rate.toFixed(0).padStart(8)} ${cpu.toFixed(2).padStart(8)}`);
  }
}
client.disconnect();
