-- permit: one permit of a subject taken, extended or released.
-- KEYS[1] permits  zset  id -> when it expires, us
-- ARGV[1] what    take | extend | release
-- ARGV[2] id      of this permit; whoever asks again with it asks for the same permit
-- ARGV[3] max     take: permits at once, int >= 1
-- ARGV[4] ttl_us  take, extend: int >= 1
-- ARGV[5] now_us  '' for the server's TIME; a given clock is for tests and models
-- returns {"held", how many are, now_us} | {"full", how many are, us until the first expires}
--   | {"released"} | {"gone"} it had expired or was released | {"layout"}
-- A release takes off this id and no other, so a permit that expired frees nobody else's place.
local call = redis.call
local what, id, most, ttl_us = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = call('TIME')
local now = ARGV[5] ~= '' and ARGV[5] + 0 or time[1] * 1000000 + time[2]

local function decimal(n)
  return string.format('%.0f', n)
end

local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then call(...) end
end

if call('ZSCORE', KEYS[1], 'v2') then return { 'layout' } end
if what == 'release' then return { call('ZREM', KEYS[1], id) == 1 and 'released' or 'gone' } end

local expires = decimal(now + ttl_us)
need('PTTL', KEYS[1])
need('ZCARD', KEYS[1])
need('ZADD', KEYS[1], expires, id)
need('PEXPIRE', KEYS[1], '1')
local function hold()
  call('ZADD', KEYS[1], expires, id)
  -- As long as its longest-lived permit. A given clock may stand still.
  local ttl_ms = math.max(math.ceil(ttl_us / 1000) + 1, ARGV[5] ~= '' and 60000 or 0)
  if call('PTTL', KEYS[1]) < ttl_ms then call('PEXPIRE', KEYS[1], decimal(ttl_ms)) end
end

local mine = call('ZSCORE', KEYS[1], id)
local live = mine and mine + 0 > now
if what == 'extend' then
  if not live then return { 'gone' } end
  hold()
  return { 'held', call('ZCARD', KEYS[1]), now }
end
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', decimal(now))
local held = call('ZCARD', KEYS[1])
if not live then
  if held >= most + 0 then
    local first = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return { 'full', held, first[2] - now }
  end
  held = held + 1
end
hold()
return { 'held', held, now }
