-- decide: n requests, each over its limits, by any algorithms; the last part of the script.
-- KEYS[i]     string  one limit of one subject, in the order of the limits in ARGV
-- ARGV[1..n]  a request: '<mode><now_us>;<cost>;<limit>;<limit>…'
--   mode    nothing: take the cost of all limits or of none | 'p': take nothing | 'c': charge, as much of
--           the cost as fits, whatever else stands in the way | 'r': give back what a receipt is for
--   now_us  '' for the server's TIME; a given clock is for tests and models
--   cost    >= 1
--   limit   '<algorithm><units>/<window_us>/<burst>@<mark>@<epoch>'; algorithm: S strict, L log,
--           G bucket, F fixed, C counter; the last three may be left out: burst is of a bucket, mark
--           and epoch are a receipt's
-- returns {"ok", the server's now_us, a limit: verdict, remaining, retry_us, reset_us, ...}
--   verdict   allowed | denied | never (however long it waits) | wrongtype | corrupt | layout;
--             with ';<epoch>;<units>' behind it where a ruling stands
--   retry_us  until the same cost fits (denied only); of 'r': the units given back
--   reset_us  until the whole limit is back
-- A request is granted when all its verdicts are `allowed`; otherwise it takes nothing. It sees what
-- those before it took: each reads its keys anew.
local call, pcall, match, max = redis.call, redis.pcall, string.match, math.max
local time = call('TIME')
local server_now = time[1] * 1000000 + time[2]
local makers = { S = new_strict, L = new_log, G = new_bucket, F = new_fixed, C = new_counter }
local algorithms, ruling = {}, nil

-- A limit as the algorithm of `letter` takes it; nil when there is none of that letter.
local function shape(letter, units, window, burst, at)
  local algorithm = algorithms[letter]
  if not algorithm then
    if not makers[letter] then return nil end
    algorithm = makers[letter](decimal)
    algorithms[letter] = algorithm
  end
  local p = {
    algorithm = algorithm, load = algorithm.load, rewrite = algorithm.rewrite, letter = letter,
    limit = units + 0, window = window + 0, text = window, burst = burst ~= '' and burst + 0, now = at,
    capacity = 0, full_us = 0, width = 0, cur = 0, whole_in = false, mark = false, epoch = false, own = false, -- room for these
  }
  algorithm.shape(p)
  return p
end

-- A batch repeats few requests: each is parsed once.
local requests = {}
local function parse(text)
  local mode, given, cost, limits = match(text, '^(%l?)(%d*);(%d+)(.*)$')
  local request = { cost = cost + 0, now = server_now, ttl_floor_ms = 0 }
  if mode ~= '' then request.mode = mode end
  if given ~= '' then
    request.now, request.ttl_floor_ms = given + 0, 60000 -- a given clock may stand still
  end
  for letter, units, window, burst, mark, epoch in string.gmatch(limits, ';(%u)(%d+)/(%d+)/?(%d*)@?(%d*)@?(%d*)') do
    local p = shape(letter, units, window, burst, request.now)
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
  ruling = ruling or new_ruling()
  local ruled, pos = ruling.of(value)
  if ruled then
    local over = ruled.limit and ruled.till <= p.now and ruled.till
    if over then ruled.limit = false end
    if ruled.blocked <= p.now then ruled.blocked = 0 end
    s.ruling, value = ruled, string.sub(value, pos)
    s.text = value
    if ruled.limit then
      local other = shape(p.letter, decimal(ruled.limit), p.text, p.burst and decimal(p.burst) or '', p.now)
      other.mark, other.epoch, other.own = p.mark, p.epoch, p
      p = other
    end
    p.algorithm.fresh(s, p)
    if value == '' then return nil, p end
    local bad = p.load(s, value, p, over)
    if bad ~= 'other' then return bad, p end
  end
  local letter = match(value, '^R1(%u)')
  local q = letter and letter ~= p.letter and shape(letter, decimal(p.limit), p.text, '', p.now)
  p.algorithm.fresh(s, p)
  if not q then return letter ~= p.letter and letter ~= 'W' and match(value, '^R%d+%u') and 'layout' or 'corrupt', p end
  local was = {}
  local bad = q.load(was, value, q)
  if bad then return 'corrupt', p end
  if was.sum > 0 then p.algorithm.anchor(s, was.sum, p) end
  return nil, p
end

-- Until `cost` fits under the policy itself, once the override is over: from what will stand there then. nil
-- when that turns out to be corrupt.
local function fits_after(s, cost, p)
  local own, till, t = p.own, s.ruling.till, {}
  if cost > own.capacity then return math.huge end
  local q = shape(p.letter, decimal(own.limit), p.text, own.burst and decimal(own.burst) or '', till)
  local text = s.anchored and p.algorithm.pack(s, 0, p) or s.text
  q.algorithm.fresh(t, q)
  local bad = text ~= '' and q.load(t, text, q)
  if bad == 'other' then q.algorithm.fresh(t, q) elseif bad then return nil end
  local retry_us = 0
  if cost > q.capacity - t.sum then retry_us = q.algorithm.retry(t, cost, q) end
  return retry_us and till - p.now + retry_us
end

-- Reads the limit at `key` into `s`: why not, and the limit that holds where it is another.
local function read(s, key, p)
  local value = pcall('GET', key)
  if type(value) == 'string' then
    local bad = p.load(s, value, p)
    if bad == 'other' then return load_other(s, value, p) end
    if bad then p.algorithm.fresh(s, p) end
    return bad
  end
  p.algorithm.fresh(s, p)
  if value then
    if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then call('GET', key) end -- raises it again
    return 'wrongtype'
  end
end

-- Writes `s` with `cost` taken now. An epoch stays for as long as the key does, and the key for as long as
-- it would have: receipts from before would count again, or those of now would not.
local function write(key, s, cost, p, ttl_floor_ms)
  local ruled, ttl_us, left_ms = s.ruling, 0, 0
  if s.anchored then -- receipts of what was moved are void
    ruling = ruling or new_ruling()
    ruled = ruled or { limit = false, till = 0, blocked = 0, epoch = 0 }
    ruled.epoch = ruling.next_epoch(ruled.epoch, server_now)
    s.ruling = ruled
  end
  if ruled then
    -- Beyond an override what is left comes back as the policy says.
    ttl_us = max(ruled.limit and ruled.till - p.now + p.own.full_us or 0, ruled.blocked - p.now)
    if ruled.epoch > 0 then
      left_ms = pcall('PTTL', key) -- an ACL may forbid it
      left_ms = type(left_ms) == 'number' and left_ms or 0
      if s.anchored then ttl_us = max(ttl_us, 2 * max(p.window, p.full_us)) end
    elseif ttl_us <= 0 then
      ruled, s.ruling = false, false
    end
  end
  local value, value_us = p.algorithm.pack(s, cost, p)
  if ruled then
    value, value_us = ruling.text(ruled) .. value, max(value_us, ttl_us)
  end
  -- Servers write a number of this size out in full.
  call('SET', key, value, 'PX', max(math.ceil(value_us / 1000) + 1, ttl_floor_ms, left_ms))
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
  for i = 1, n do
    local s, p, verdict, retry_us = states[i], request[i], 'allowed', 0
    if not s then
      s = { value = false, prefix = '', pos = 0, dropped = false, head = 0, older = 0, newest = 0, sum = 0, anchored = false, back = false, ruling = false }
      states[i] = s
    end
    s.anchored, s.back, s.ruling = false, false, false
    local bad, other = read(s, KEYS[key + i - 1], p)
    p = other or p
    held[i] = p
    local room = p.capacity - s.sum
    if bad then
      verdict = bad
    elseif cost > p.capacity then
      verdict = 'never'
    else
      if cost > room then
        retry_us = p.algorithm.retry(s, cost, p)
        if retry_us then verdict, retry_us = 'denied', max(1, retry_us) else verdict, retry_us, bad = 'corrupt', 0, true end
      end
    end
    local ruled = not bad and s.ruling
    if ruled then
      local blocked_us = ruled.blocked - p.now
      local wait_us = max(blocked_us, verdict == 'denied' and retry_us or verdict == 'never' and math.huge or 0)
      if ruled.limit and wait_us >= ruled.till - p.now then
        local after_us = fits_after(s, cost, p)
        if after_us then wait_us = max(blocked_us, after_us) else verdict, retry_us, bad = 'corrupt', 0, true end
      end
      if not bad and wait_us > 0 then
        if wait_us < math.huge then verdict, retry_us = 'denied', wait_us else verdict, retry_us = 'never', 0 end
      end
    end
    if bad then sound = false end
    granted = granted and verdict == 'allowed'
    reply[filled + 1], reply[filled + 2], reply[filled + 3] = verdict, max(0, room), retry_us
    filled = filled + 4
  end
  for i = 1, n do
    local s, p, at, k, taken = states[i], held[i], first + 4 * i, KEYS[key + i - 1], granted and cost or 0
    if not sound then
      taken = false
    elseif mode then
      taken = false
      if mode == 'c' then
        taken = max(0, math.min(cost, p.capacity - s.sum))
      elseif mode == 'p' and s.back then
        taken = 0 -- what counts as taken now must not do so again at the next look; but who looks changes no policy
      elseif mode == 'r' then
        reply[at - 1] = 0
        if not s.anchored and (s.ruling and s.ruling.epoch or 0) == p.epoch then
          local given = p.algorithm.give(s, cost, p.mark, p)
          if given > 0 then
            write(k, s, 0, p, request.ttl_floor_ms)
            reply[at - 2], reply[at - 1] = max(0, p.capacity - s.sum), given
          end
        end
      end
    end
    if taken and (taken > 0 or s.anchored) then
      local rewritten = p.rewrite and not (s.ruling or s.anchored) and p.rewrite(k, s, taken, p)
      if not rewritten then write(k, s, taken, p, request.ttl_floor_ms) end
      reply[at - 2], s.sum = reply[at - 2] - taken, s.sum + taken
    end
    if taken and taken > 0 and p.whole_in then
      reply[at] = p.whole_in
    else
      reply[at] = s.sum > 0 and p.algorithm.reset(s, p) or 0
    end
    if s.ruling then
      reply[at - 3] = reply[at - 3] .. ';' .. decimal(s.ruling.epoch) .. ';' .. decimal(p.limit)
    end
  end
  key = key + n
end
return reply
