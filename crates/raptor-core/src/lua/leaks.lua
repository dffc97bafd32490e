-- leaks: finds keys without a TTL, and gives them one if asked to.
-- KEYS[i]  any type
-- ARGV[i]  ttl_ms of KEYS[i], int >= 1; '' only looks
-- returns {"ok", a key: "leak" | "fine", ...}
local out = { 'ok' }
for i = 1, #KEYS do
  local key, ttl_ms = KEYS[i], ARGV[i]
  local leaks = redis.call('PTTL', key) == -1
  if leaks and ttl_ms ~= '' then redis.call('PEXPIRE', key, ttl_ms) end
  out[i + 1] = leaks and 'leak' or 'fine'
end
return out
