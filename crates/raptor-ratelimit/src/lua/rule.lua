-- rule: an operator's word on one limit; ruling.lua stands before it.
-- KEYS[1] state    string  the limit's
-- KEYS[2] rulings  hash    of the same user: field -> '<units>;<until>;<blocked>', and the layout in `v`
-- ARGV[1] what      reset | block | override
-- ARGV[2] now_us    '' for the server's TIME; a given clock is for tests and models
-- ARGV[3] units     of an override, int >= 1; '' lifts it
-- ARGV[4] for_us    how long a block or an override stands, int >= 0; 0 lifts a block
-- ARGV[5] field     what KEYS[2] calls this limit: '<endpoint>:<policy>'
-- ARGV[6] outlive_us  how long receipts of what a reset forgets could be given back
-- returns {"ok"} | {"wrongtype" | "corrupt" | "layout"} of KEYS[1] | {"full"} too many rulings of one user
local call, pcall = redis.call, redis.pcall
local MAX_RULINGS, ruling = 1000, new_ruling()
local what, given, units, for_us, field, outlive_us = ARGV[1], ARGV[2], ARGV[3], ARGV[4] + 0, ARGV[5], ARGV[6] + 0
local time = call('TIME')
local server_us = time[1] * 1000000 + time[2]
local now = given ~= '' and given + 0 or server_us

local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then call(...) end
end

local value = pcall('GET', KEYS[1])
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then call('GET', KEYS[1]) end
  return { 'wrongtype' }
end
local ruled, pos = ruling.of(value or '')
local state = ruled and string.sub(value, pos) or value or ''
ruled = ruled or { limit = false, till = 0, blocked = 0, epoch = 0 }
if state ~= '' and not string.match(state, '^R1[SLGFC]%d') then
  return { string.match(state, '^R%d+%u') and 'layout' or 'corrupt' }
end
local layout = call('HGET', KEYS[2], 'v')
if layout and layout ~= '1' then return { 'layout' } end

need('PTTL', KEYS[1])
need('SET', KEYS[1], '', 'PX', '1')
need('DEL', KEYS[1])
need('HSET', KEYS[2], 'v', '1')
need('HDEL', KEYS[2], field)
need('HLEN', KEYS[2])
need('HGETALL', KEYS[2])
need('PEXPIRE', KEYS[2], '1')

if ruled.till <= now then ruled.limit, ruled.till = false, 0 end
if ruled.blocked <= now then ruled.blocked = 0 end

-- Escapes of what stands for itself: no name of ours has one.
local NEEDLESS = { '%%2[BDE]', '%%3[%dD]', '%%4[%dA-F]', '%%5[%dAF]', '%%6[1-9A-F]', '%%7[%dAE]' }

-- Whether list can read a field's name and value.
local function sound(name, text)
  for _, escape in ipairs(NEEDLESS) do
    if string.find(name, escape) then return false end
  end
  for part in string.gmatch(name, '[^:]*') do
    local plain, escaped = string.gsub(part, '%%[%dA-F][%dA-F]', '')
    if #plain + escaped > 512 or string.find(plain, '[^%w_.~@+=-]') then return false end
  end
  return string.match(name, '^[^:]+:[^:]+$') and string.match(text, '^[^;]+;%d+;%d+$') and ruling.of('R1W' .. text .. ';0;')
end

-- Takes what is over off the index, and what cannot be read; tells how many.
local function sweep()
  local all, gone = call('HGETALL', KEYS[2]), 0
  for i = 1, #all, 2 do
    local entry = all[i] ~= 'v' and sound(all[i], all[i + 1])
    if all[i] ~= 'v' and not (entry and math.max(entry.till, entry.blocked) > now) then
      gone = gone + call('HDEL', KEYS[2], all[i])
    end
  end
  return gone
end

if what == 'reset' then
  if value then state, ruled.epoch = '', ruling.next_epoch(ruled.epoch, server_us) end
  sweep()
elseif what == 'block' then
  ruled.blocked = for_us > 0 and now + for_us or 0
else
  ruled.limit = units ~= '' and tonumber(units)
  ruled.till = ruled.limit and now + for_us or 0
end

-- Room in the index, where this limit needs a place in it.
local listed = ruled.limit or ruled.blocked > 0
if listed and not call('HGET', KEYS[2], field) and call('HLEN', KEYS[2]) > MAX_RULINGS then
  if sweep() == 0 then return { 'full' } end
end

local keep_ms = (state ~= '' or ruled.epoch > 0) and math.max(call('PTTL', KEYS[1]), 1) or 0
local ruled_ms = math.ceil(math.max(ruled.till - now, ruled.blocked - now, 0) / 1000)
if ruled.epoch > 0 then keep_ms = math.max(keep_ms, math.ceil(outlive_us / 1000)) end
if listed or ruled.epoch > 0 then
  call('SET', KEYS[1], ruling.text(ruled) .. state, 'PX', string.format('%.0f', math.max(keep_ms, ruled_ms, 1)))
elseif state ~= '' then
  call('SET', KEYS[1], state, 'PX', string.format('%.0f', keep_ms))
elseif value then
  call('DEL', KEYS[1])
end
if listed then
  local limit = ruled.limit and string.format('%.0f', ruled.limit) or '-'
  call('HSET', KEYS[2], 'v', '1', field, string.format('%s;%.0f;%.0f', limit, ruled.till, ruled.blocked))
  local ttl_ms = math.max(call('PTTL', KEYS[2]), ruled_ms)
  call('PEXPIRE', KEYS[2], string.format('%.0f', ttl_ms))
else
  call('HDEL', KEYS[2], field)
end
return { 'ok' }
