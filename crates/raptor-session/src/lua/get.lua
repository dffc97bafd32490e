-- get: read sessions and slide their idle deadlines, in the hash, its TTL, its user's index and the agenda.
-- Creates no key: a session that is gone stays gone. Slides only when the deadline moves by a 64th of the idle timeout
-- or by a second: what is read more often is only read. Where the deadline does not move any more, the use alone is
-- written, in a user's session: lists tell it, and a cap goes by it.
-- A server that takes no writes now (out of memory, say) does not stop a read: nothing is slid then.
-- Leaves what has ended in the index to the next login or list: no more is there than once lived together.
-- Does not slide a session that the index does not list: none may outlive what its user's index says of it.
-- So it is, for the moment, while a cluster moves the slot and has the index at the other owner: the index is no
-- declared key, so the server runs the script, and finds the index either missing or "non local".
-- It stands behind base.lua alone, for it is the hot one; the layout is in head.lua.
-- KEYS[i] session  hash
-- ARGV[i] now_ms   int, or '' for the server's clock
-- returns {"ok", server_now_ms, session...}, each {"h", head, field, value, ...} | {"none"} | {"layout"} | {"corrupt"}
--         | {"moved", mac, readable_until_ms, now_ms, seal, "id suffix"} | {"refused", message}, nothing written

local call, match, sub, max, min = redis.call, string.match, string.sub, math.max, math.min
local server_now

local function clock(pinned)
  if pinned ~= '' then return tonumber(pinned) end
  if not server_now then
    local t = call('TIME')
    server_now = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return server_now
end

-- A hash that does not begin with its head: something else, or another encoding's order.
local function reorder(held)
  local moved = {}
  for i = 1, #held, 2 do
    if held[i] == 'h' then
      held[1], held[2], held[i], held[i + 1] = held[i], held[i + 1], held[1], held[2]
      return
    end
    moved[held[i]] = held[i + 1]
  end
  return moved
end

local function slide(key, held, now, deadline, idle, absolute, rest)
  local revision, bytes, created, flags, suffix = match(rest, '^(%d+) (%d+) (%d+) ([-e]) %w+ ([!-~]+)$')
  if not flags or max(revision, bytes, created) > MAX then return {'corrupt'} end
  local till = max(deadline, min(now + idle, absolute))
  local moves = till > deadline
  if not moves and suffix == '-' then return held end
  local mac, tag = sub(key, -43), sub(key, -51, -45)
  local index = moves and suffix ~= '-' and sub(key, 1, -52) .. '~user' .. tag .. suffix
  if index then
    -- Before the first write, for the index may have another type.
    local scores = redis.pcall('ZMSCORE', index, mac, NEWER)
    if scores.err and not scores.err:find('non local key', 1, true) then error(scores) end
    if scores[2] then return {'layout'} end
    if not scores[1] then return held end
  end
  local ttl, score = int(till - now), int(till)
  local head = LAYOUT .. ' ' .. int(now) .. ' ' .. score .. ' ' .. int(idle) .. ' ' .. int(absolute) .. ' ' .. rest
  local agenda = moves and flags == 'e' and sub(key, 1, -52) .. '~ended' .. tag
  if moves then need('PEXPIRE', key, ttl) end
  if index then need('ZADD', index, 'XX', score, mac) end
  if agenda then need('ZADD', agenda, 'XX', score, mac) end
  if not wrote('HSET', key, 'h', head) then return held end
  if moves then call('PEXPIRE', key, ttl) end
  if index then
    call('ZADD', index, 'XX', score, mac)
    call('PEXPIRE', index, ttl, 'GT')
  end
  if agenda then redis.pcall('ZADD', agenda, 'XX', score, match(rest, '(%w+ [!-~]+)$')) end
  held[2] = head
  return held
end

local function finish(key, rest)
  local suffix = match(rest, '([!-~]+)$')
  local mac = sub(key, -43)
  local index = suffix and suffix ~= '-' and sub(key, 1, -52) .. '~user' .. sub(key, -51, -45) .. suffix
  local scores = index and redis.pcall('ZMSCORE', index, mac, NEWER) or {}
  if scores.err and not scores.err:find('non local key', 1, true) then error(scores) end
  if scores[2] then return {'layout'} end
  local is_listed = scores[1]
  if is_listed then need('ZREM', index, mac) end
  if wrote('UNLINK', key) and is_listed then call('ZREM', index, mac) end
  return {'none'}
end

local function read(key, pinned)
  local held = call('HGETALL', key)
  local name = held[1]
  if not name then return {'none'} end
  local now = clock(pinned)
  if name ~= 'h' then
    local pointer = reorder(held)
    if pointer then
      if not pointer['>'] then return {'corrupt'} end
      return {'moved', pointer['>'], pointer.g or '0', int(now), pointer.s or '', pointer.i or ''}
    end
  end
  local version, seen, deadline, idle, absolute, rest = match(held[2], '^(%d+) (%d+) (%d+) (%d+) (%d+) (.+)$')
  if version ~= LAYOUT then return not_ours(match(held[2], '^(%d+) ')) end
  if max(seen, deadline, idle, absolute) > MAX then return {'corrupt'} end
  seen, idle, absolute = tonumber(seen), tonumber(idle), tonumber(absolute)
  deadline = min(tonumber(deadline), absolute) -- which is sealed, the other is not
  if now >= deadline then return finish(key, rest) end
  -- Never back: a server's clock may.
  if now - seen >= min(1000, idle / 64) and now > seen then
    return slide(key, held, now, deadline, idle, absolute, rest)
  end
  return held
end

local reply = {'ok', 0}
if not KEYS[2] then
  reply[3] = read(KEYS[1], ARGV[1])
else
  -- What one is refused for is not the others' business.
  for i = 1, #KEYS do
    local ran, one = pcall(read, KEYS[i], ARGV[i])
    if not ran then
      local why = type(one) == 'table' and one.err or tostring(one)
      if not (why:find('NOPERM', 1, true) or why:find('WRONGTYPE', 1, true)) then error(one) end
      one = {'refused', why}
    end
    reply[i + 2] = one
  end
end
reply[2] = int(server_now or 0)
return reply
