-- decide: n requests, each over its limits, by any algorithms; the last part of the script.
-- KEYS[i]     string  one limit of one subject, in the order of the limits in ARGV
-- ARGV[1..n]  a request: '<mode><now_us>;<cost>;<limit>;<limit>…'
--   mode    nothing: take the cost of all limits or of none | 'p': only look | 'c': charge, as much of
--           the cost as fits, whatever else stands in the way | 'r': give back what a receipt is for
--   now_us  '' for the server's TIME; a given clock is for tests and models
--   cost    >= 1
--   limit   '<algorithm><units>/<window_us>/<burst>@<mark>@<epoch>'; algorithm: S strict, L log,
--           G bucket, F fixed, C counter; the last three may be left out: burst is of a bucket, mark
--           and epoch are a receipt's
-- returns {"ok", the server's now_us, a limit: verdict, remaining, retry_us, reset_us, ...}
--   verdict   allowed | denied | never (cost above the limit) | wrongtype | corrupt | layout;
--             with ';<epoch>;<units>' behind it where a ruling stands
--   retry_us  until the same cost fits (denied only); of 'r': the units given back
--   reset_us  until the whole limit is back
-- A request is granted when all its verdicts are `allowed`; otherwise it takes nothing. It sees what
-- those before it took: each reads its keys anew.
local algorithms = { S = strict, L = log, G = bucket, F = fixed, C = counter }
local LIMIT = ';(%u)(%d+)/(%d+)/?(%d*)@?(%d*)@?(%d*)'

-- A limit as the algorithm of `letter` takes it.
local function shape(letter, units, window, burst, at)
  local p = { algorithm = algorithms[letter], letter = letter, limit = units + 0, window = window + 0, text = window, now = at }
  p.burst = burst ~= '' and burst + 0 or nil
  p.load, p.fresh = p.algorithm.load, p.algorithm.fresh
  p.algorithm.shape(p)
  return p
end

-- A batch repeats few requests: each is parsed once.
local requests = {}
local function parse(text)
  local mode, given, cost, limits = match(text, '^(%l?)(%d*);(%d+)(.*)$')
  local request = { mode = mode, cost = cost + 0, now = server_now, ttl_floor_ms = 0 }
  if given ~= '' then
    request.now, request.ttl_floor_ms = given + 0, 60000 -- a given clock may stand still
  end
  now = request.now
  for letter, units, window, burst, mark, epoch in gmatch(limits, LIMIT) do
    local p = shape(letter, units, window, burst, now)
    p.burst_text = burst
    if mode == 'r' then p.mark, p.epoch = mark + 0, epoch + 0 end
    request[#request + 1] = p
  end
  requests[text] = request
  return request
end

-- A value that is not simply a state of the limit's own algorithm: a ruling stands before it, or it is
-- another algorithm's, which counts as taken now. Returns a verdict when it cannot be read, and the
-- limit that holds.
local function load_other(s, value, p)
  local ruling, pos = ruling_of(value)
  if ruling then
    if ruling.till <= now then ruling.limit = false end
    if ruling.blocked <= now then ruling.blocked = 0 end
    s.ruling, value = ruling, sub(value, pos)
    if ruling.limit then
      local mark, epoch, burst = p.mark, p.epoch, p.burst_text
      if p.burst == p.limit then burst = '' end
      p = shape(p.letter, decimal(ruling.limit), p.text, burst, now)
      p.mark, p.epoch = mark, epoch
      p.fresh(s, p)
    end
    if value == '' then return nil, p end
    local bad = p.load(s, value, p)
    if bad ~= 'other' then return bad, p end
  end
  local letter = match(value, '^R1(%u)')
  local other = letter and algorithms[letter]
  if not other then return match(value, '^R%d+%u') and 'layout' or 'corrupt', p end
  if letter == p.letter then return 'corrupt', p end
  local was, q = {}, shape(letter, decimal(p.limit), p.text, '', now)
  q.fresh(was, q)
  local bad = q.load(was, value, q)
  if not bad and was.sum > 0 then p.algorithm.anchor(s, was.sum, p) end
  return bad, p
end

-- Reads the limit at `key` into `s`; why not, and the limit that holds.
local function read(s, key, p)
  s.anchored, s.ruling = false, false
  p.fresh(s, p)
  local value = pcall('GET', key)
  if type(value) == 'string' then
    local bad = p.load(s, value, p)
    if bad == 'other' then return load_other(s, value, p) end
    return bad, p
  end
  if value then
    if sub(value.err, 1, 9) ~= 'WRONGTYPE' then call('GET', key) end -- raises it again
    return 'wrongtype', p
  end
  return nil, p
end

-- What the state in `s` says to `cost`: a verdict, and when to come back.
local function judge(s, cost, p)
  if cost > p.capacity then return 'never', 0 end
  local retry_us = 0
  if cost > p.capacity - s.sum then
    retry_us = p.algorithm.retry(s, cost, p)
    if not retry_us then return 'corrupt', 0 end
    retry_us = max(1, retry_us)
  end
  local ruling = s.ruling
  if ruling and ruling.blocked > now then retry_us = max(retry_us, ruling.blocked - now) end
  if retry_us > 0 then return 'denied', retry_us end
  return 'allowed', 0
end

-- Writes `s` with `cost` taken now.
local function write(key, s, cost, p)
  local ruling, ttl_us = s.ruling, 0
  if s.anchored then -- receipts of what was moved are void
    ruling = ruling or { limit = false, till = 0, blocked = 0, epoch = 0 }
    ruling.epoch = next_epoch(ruling.epoch, server_now)
    s.ruling = ruling
  end
  if ruling then
    ttl_us = max(ruling.limit and ruling.till - now or 0, ruling.blocked - now)
    local remembered = 3 * max(p.window, p.algorithm.reset(s, p))
    if ttl_us <= 0 and server_now >= ruling.epoch + remembered then ruling, s.ruling = nil, nil end
  elseif p.algorithm == strict and strict.rewrite(key, s, cost, p) then
    return
  end
  local value, value_us = p.algorithm.pack(s, cost, p)
  if ruling then
    value, value_us = written(ruling) .. value, max(value_us, ttl_us)
  end
  call('SET', key, value, 'PX', decimal(max(ceil(value_us / 1000) + 1, ttl_floor_ms)))
end

local function noted(verdict, s, p)
  if not s.ruling then return verdict end
  return verdict .. ';' .. decimal(s.ruling.epoch) .. ';' .. decimal(p.limit)
end

-- An ACL may forbid one of the two ways to write: then it stops the call before the first of several
-- writes. Not every server can be asked.
if #KEYS > 1 and redis.acl_check_cmd then
  if not redis.acl_check_cmd('SET', KEYS[1], '') then call('SET', KEYS[1], '') end
  if not redis.acl_check_cmd('SETRANGE', KEYS[1], '0', '') then call('SETRANGE', KEYS[1], '0', '') end
end

local states, held, reply, filled, key = {}, {}, { 'ok', server_now }, 2, 1
for arg = 1, #ARGV do
  local request = requests[ARGV[arg]] or parse(ARGV[arg])
  local mode, cost, n, first, granted, sound = request.mode, request.cost, #request, filled, true, true
  now, ttl_floor_ms = request.now, request.ttl_floor_ms
  for i = 1, n do
    local s, verdict, retry_us = states[i], nil, 0
    if not s then
      s = {}
      states[i] = s
    end
    local bad, p = read(s, KEYS[key + i - 1], request[i])
    held[i] = p
    if bad then verdict, sound = bad, false else verdict, retry_us = judge(s, cost, p) end
    if verdict == 'corrupt' then sound = false end
    granted = granted and verdict == 'allowed'
    reply[filled + 1], reply[filled + 2], reply[filled + 3] = noted(verdict, s, p), max(0, p.capacity - s.sum), retry_us
    reply[filled + 4] = not bad and s.sum > 0 and p.algorithm.reset(s, p) or 0
    filled = filled + 4
  end
  for i = 1, n do
    local p, s, at = held[i], states[i], first + 4 * i
    local taken = granted and cost or 0
    if mode == 'p' or not sound then
      taken = nil
    elseif mode == 'c' then
      taken = max(0, min(cost, p.capacity - s.sum))
      reply[at - 1] = 0
    elseif mode == 'r' then
      taken = nil
      reply[at - 1] = 0
      if not s.anchored and (s.ruling and s.ruling.epoch or 0) == p.epoch then
        local given = p.algorithm.give(s, cost, p.mark, p)
        if given > 0 then
          write(KEYS[key + i - 1], s, 0, p)
          reply[at - 2], reply[at - 1] = max(0, p.capacity - s.sum), given
        end
      end
    end
    if taken and taken > 0 then
      write(KEYS[key + i - 1], s, taken, p)
      reply[at - 2] = reply[at - 2] - taken
      -- A write moves the head of a strict window to the bucket of now.
      reply[at] = p.cur and (p.cur + 1) * p.width + p.window - now or p.algorithm.reset(s, p)
      if s.ruling then reply[at - 3] = noted('allowed', s, p) end
    elseif taken and s.anchored then
      write(KEYS[key + i - 1], s, 0, p)
    end
  end
  key = key + n
end
return reply
