-- head: what the session scripts share, but get.lua; each stands behind base.lua and this. A session's head, its index,
-- the clock.
-- KEYS and ARGV are those of the script that follows.
--
-- A session is a hash:  h         its head, one text, so that a read parses once and a slide writes once:
--                                 "1 seen deadline idle absolute revision bytes created flags id suffix"
--                                 (layout; ms; bytes: of the fields' names and values in the clear; 'e' = expiry is
--                                 told; stable id; suffix of the index's name, '-' for nobody's)
--                       s         the seal of who it is and of its deadlines, where there is a keyring
--                       f:<name>  a field
-- An old token's hash:  >         the MAC that took its place;  g  until when it may be read, ms;  i  "id suffix" of its
--                                 session, as in the head;  s  the seal of all three
-- returns nothing by itself; the others' statuses {"none"} | {"corrupt"} | {"layout"} | {"split"} | {"sealed"}
--         | {"moved", mac, readable_until_ms, now_ms, seal, "id suffix"} are from here

local PRUNE = 64

-- Milliseconds, and the thousandths of the one that runs.
local function clock(pinned)
  local now = tonumber(pinned)
  if now then return now, 0 end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000), t[2] % 1000
end

local function parse(text)
  local version, rest = string.match(text, '^(%d+) (.*)$')
  if version ~= LAYOUT then return nil, not_ours(version) end
  local seen, deadline, idle, absolute, revision, bytes, created, flags, id, suffix =
    string.match(rest, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ([-e]) (%w+) ([!-~]+)$')
  if not seen or math.max(seen, deadline, idle, absolute, revision, bytes, created) > MAX then
    return nil, {'corrupt'}
  end
  return {
    seen = tonumber(seen), deadline = tonumber(deadline), idle = tonumber(idle), absolute = tonumber(absolute),
    revision = tonumber(revision), bytes = tonumber(bytes), created = created, flags = flags, id = id, suffix = suffix,
  }
end

local function text_of(head)
  return string.format('%s %.0f %.0f %.0f %.0f %.0f %.0f %s %s %s %s', LAYOUT, head.seen, head.deadline, head.idle,
    head.absolute, head.revision, head.bytes, head.created, head.flags, head.id, head.suffix)
end

-- What a field counts, its "f:" and its seal apart: that begins with 0xF5, its version and how long its key's id is, and
-- adds 31 bytes and the id.
local function weight(name, value)
  local seal = string.byte(value, 1) == 0xF5 and #value > 31 and 31 + string.byte(value, 3) or 0
  return #name - 2 + math.max(#value - seal, 0)
end

-- The absolute deadline is sealed, the other is not.
local function end_of(head)
  return math.min(head.deadline, head.absolute)
end

-- The head of a live session, or nothing and the status that says why.
local function load(session, now)
  local held = redis.call('HMGET', session, 'h', 's', '>', 'g', 'i')
  if held[1] then
    local head, status = parse(held[1])
    if head and now >= end_of(head) then return nil, {'none'}, head end
    if head then head.text, head.seal = held[1], held[2] end
    return head, status
  end
  if held[3] then return nil, {'moved', held[3], held[4] or '0', int(now), held[2] or '', held[5] or ''} end
  return nil, {redis.call('EXISTS', session) == 1 and 'corrupt' or 'none'}
end

-- "…session:{sNNN}:<mac>" gives the mac, and the names of its neighbours in the slot: none can leave its family.
local function mac_of(session)
  return string.sub(session, -43)
end

local function index_of(session, suffix)
  return string.sub(session, 1, -52) .. '~user' .. string.sub(session, -51, -45) .. suffix
end

local function agenda_of(session)
  return string.sub(session, 1, -52) .. '~ended' .. string.sub(session, -51, -45)
end

-- Where the index lists the session (its score, or nothing), or a status. The index is no declared key: while a cluster
-- moves the slot it may be at the other owner.
local function listed(index, mac)
  local scores = redis.pcall('ZMSCORE', index, mac, NEWER)
  if scores.err then
    if string.find(scores.err, 'non local key', 1, true) then return nil, {'split'} end
    return nil, scores
  end
  if scores[2] then return nil, {'layout'} end
  return scores[1]
end
