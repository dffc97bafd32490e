-- acquire: n requests, each all or nothing over its limits, by the strict sliding window.
-- KEYS[i]     string  one limit of one subject, in the order of the limits in ARGV
-- ARGV[1..n]  a request: '<now_us>;<cost>;<limit>/<window_us>;…' with 1 or more limits, in integers
--   now_us  '' for the server's TIME; a given clock is for tests and models
--   cost    >= 1
-- returns {"ok", the server's now_us, a limit: verdict, remaining, retry_us, reset_us, ...}
--   verdict   allowed | denied | never (cost above the limit) | wrongtype | corrupt | layout
--   retry_us  until the same cost fits (denied only); reset_us: until the whole limit is back
-- A request is granted when all its verdicts are `allowed`; otherwise it takes nothing. It sees what
-- those before it took: each reads its keys anew.
--
-- State, layout 1, strict: 'R1S<window_us>;<head>;<older>;<newest><older buckets>$'
--   head    index of the newest bucket: floor(now / width), width = floor(window / 60)
--   newest  what the head bucket holds; older: the sum of all others
--   older buckets, oldest first, at most 64: a byte 60 + index % 66, then what it holds
-- A bucket counts whole until its last moment has left: now >= (index + 1) * width + window.
-- So a check within the head bucket rewrites one number, and a bucket is parsed when it leaves.
local call, pcall = redis.call, redis.pcall
local floor, ceil, max = math.floor, math.ceil, math.max
local match, gmatch, format = string.match, string.gmatch, string.format
local byte, char, sub = string.byte, string.char, string.sub
local BUCKETS, SLOTS, FIRST_SLOT, DOLLAR, MAX_BYTES = 60, 66, 60, 36, 2048
local HEADER = '^(R1S(%d+);(%d+);(%d+);)(%d+)()'
local BUCKET = '^[<-}](%d+)()'
local EXACT = 9007199254740992 -- 2^53: from here on numbers are not exact

local time = call('TIME')
local server_now = time[1] * 1000000 + time[2]
local now, ttl_floor_ms -- of the request at hand

-- A batch repeats few numbers: each is written out once.
local decimals = {}
local function decimal(n)
  local text = decimals[n]
  if not text then
    text = format('%.0f', n)
    decimals[n] = text
  end
  return text
end

-- A batch repeats few requests: each is parsed once.
local requests = {}
local function parse(text)
  local given, cost, specs = match(text, '^(%d*);(%d+)(.*)$')
  local request = { cost = cost + 0, now = server_now, ttl_floor_ms = 0 }
  if given ~= '' then
    request.now, request.ttl_floor_ms = given + 0, 60000 -- a given clock may stand still
  end
  for limit, window in gmatch(specs, ';(%d+)/(%d+)') do
    local width = floor(window / BUCKETS)
    request[#request + 1] = {
      limit = limit + 0, window = window + 0, text = window, width = width, cur = floor(request.now / width),
    }
  end
  requests[text] = request
  return request
end

-- Index of the bucket with byte `slot`, one of the 65 before `head`.
local function index_of(slot, head)
  return head - (head - (slot - FIRST_SLOT)) % SLOTS
end

-- All that `state` holds counts as of now: in the head bucket, kept at the next write.
local function anchor(state, sum)
  state.newest, state.anchored = sum, true
end

-- Fills `state` with what counts of `value`; returns a verdict only when it cannot be read.
local function load(state, value, p)
  local prefix, window_text, head, older, newest, pos = match(value, HEADER)
  if not pos then return match(value, '^R%d+%u') and 'layout' or 'corrupt' end
  head, older, newest = head + 0, older + 0, newest + 0
  if byte(value, -1) ~= DOLLAR or #value > MAX_BYTES or older + newest >= EXACT then return 'corrupt' end
  local window, width, cur, same = p.window, p.width, p.cur, window_text == p.text
  if not same then
    width = floor(window_text / BUCKETS)
    if width < 1 then return 'corrupt' end
    cur = floor(now / width)
  end
  if head > cur then -- the clock went back
    anchor(state, older + newest)
    return
  end
  if now >= (head + 1) * width + window then return end -- all of it has left
  local slot, dropped = byte(value, pos), false
  while slot ~= DOLLAR do
    if now < (index_of(slot, head) + 1) * width + window then break end
    local held, after = match(value, BUCKET, pos)
    if not after then return 'corrupt' end
    older, pos, dropped = older - held, after, true
    slot = byte(value, pos)
  end
  if older < 0 or (slot == DOLLAR and older ~= 0) then return 'corrupt' end
  if not same then -- the window changed: buckets of another width
    anchor(state, older + newest)
    return
  end
  state.value, state.prefix, state.pos, state.dropped = value, prefix, pos, dropped
  state.head, state.older, state.newest = head, older, newest
end

-- Time until `need` has left the window; nil when the buckets do not hold what the header says.
local function retry_after(state, need, p)
  local value, pos, head, older = state.value, state.pos, state.head, state.older
  local slot = value and byte(value, pos) or DOLLAR
  while slot ~= DOLLAR do
    local held, after = match(value, BUCKET, pos)
    if not after then return nil end
    need, older = need - held, older - held
    if need <= 0 then return (index_of(slot, head) + 1) * p.width + p.window - now end
    pos = after
    slot = byte(value, pos)
  end
  if older ~= 0 then return nil end
  return (head + 1) * p.width + p.window - now
end

-- Writes `state` with `cost` taken now. The first write in a bucket sets a TTL that covers all
-- of it, so that the others may keep it.
local function store(key, state, cost, p)
  local value, cur = state.value, p.cur
  if value and state.head == cur and not state.dropped then
    local at, text = #state.prefix, decimal(state.newest + cost)
    if at + #text + 1 == state.pos then
      call('SETRANGE', key, decimal(at), text)
    else
      call('SET', key, state.prefix .. text .. sub(value, state.pos), 'KEEPTTL')
    end
    return
  end
  local older, newest, buckets = state.older, state.newest, value and sub(value, state.pos, -2) or ''
  if state.head < cur then
    if newest > 0 then buckets = buckets .. char(FIRST_SLOT + state.head % SLOTS) .. decimal(newest) end
    older, newest = older + newest, 0
  end
  local ttl_ms = ceil(((cur + 1) * p.width + p.window - now) / 1000) + 1
  call('SET', key, format('R1S%s;%s;%s;%s%s$', p.text, decimal(cur), decimal(older), decimal(newest + cost), buckets),
    'PX', decimal(max(ttl_ms, ttl_floor_ms)))
end

-- Reads the limit at `key`: its verdict, retry_us and sum; the rest is in `state`.
local function judge(state, key, cost, p)
  local value = pcall('GET', key)
  local bad
  if type(value) == 'string' then
    bad = load(state, value, p)
  elseif value then
    if sub(value.err, 1, 9) ~= 'WRONGTYPE' then call('GET', key) end -- raises it again
    bad = 'wrongtype'
  end
  local sum = state.older + state.newest
  if bad then return bad, 0, sum end
  if cost > p.limit then return 'never', 0, sum end
  local room = p.limit - sum
  if cost <= room then return 'allowed', 0, sum end
  local retry_us = retry_after(state, cost - room, p) -- never sum + cost, which may exceed 2^53
  if not retry_us then return 'corrupt', 0, sum end
  return 'denied', retry_us, sum
end

-- An ACL may forbid one of the two ways to write: then it stops the call before the first of several
-- writes. Not every server can be asked.
if #KEYS > 1 and redis.acl_check_cmd then
  if not redis.acl_check_cmd('SET', KEYS[1], '') then call('SET', KEYS[1], '') end
  if not redis.acl_check_cmd('SETRANGE', KEYS[1], '0', '') then call('SETRANGE', KEYS[1], '0', '') end
end

local states, reply, filled, key = {}, { 'ok', server_now }, 2, 1
for arg = 1, #ARGV do
  local request = requests[ARGV[arg]] or parse(ARGV[arg])
  local cost, n, first, granted = request.cost, #request, filled, true
  now, ttl_floor_ms = request.now, request.ttl_floor_ms
  for i = 1, n do
    local p, state = request[i], states[i]
    if not state then
      state = { prefix = '', pos = 0, dropped = false }
      states[i] = state
    end
    state.head, state.older, state.newest = p.cur, 0, 0
    state.value, state.anchored = false, false
    local verdict, retry_us, sum = judge(state, KEYS[key + i - 1], cost, p)
    granted = granted and verdict == 'allowed'
    reply[filled + 1], reply[filled + 2], reply[filled + 3] = verdict, max(0, p.limit - sum), retry_us
    reply[filled + 4] = sum > 0 and (state.head + 1) * p.width + p.window - now or 0
    filled = filled + 4
  end
  for i = 1, n do
    local p, state, at = request[i], states[i], first + 4 * i
    if granted then
      store(KEYS[key + i - 1], state, cost, p)
      reply[at - 2], reply[at] = reply[at - 2] - cost, (p.cur + 1) * p.width + p.window - now
    elseif state.anchored then
      store(KEYS[key + i - 1], state, 0, p)
    end
  end
  key = key + n
end
return reply
