-- strict: the strict sliding window. State, layout 1:
--   'R1S<window_us>;<head>;<older>;<newest><older buckets>$'
--   head    index of the newest bucket: floor(now / width), width = floor(window / 60)
--   newest  what the head bucket holds; older: the sum of all others
--   older buckets, oldest first, at most 64: a byte 60 + index % 66, then what it holds
-- A bucket counts whole until its last moment has left: now >= (index + 1) * width + window.
-- So a check within the head bucket rewrites one number, and a bucket is parsed when it leaves.
-- returns nothing: a part of the script that decides, see base.lua
local function new_strict(decimal)
  local floor, min, match, format = math.floor, math.min, string.match, string.format
  local byte, char, sub, call = string.byte, string.char, string.sub, redis.call
  local EXACT, DOLLAR = 9007199254740992, 36 -- from 2^53 on numbers are not exact
  local strict = { shape = false, fresh = false, anchor = false, load = false, retry = false, reset = false, pack = false, rewrite = false, give = false } -- with room for all of them
  local BUCKETS, SLOTS, FIRST_SLOT, MAX_BYTES = 60, 66, 60, 2048
  local HEADER = '^(R1S(%d+);(%d+);(%d+);)(%d+)()'
  local BUCKET = '^[<-}](%d+)()'

  function strict.shape(p)
    p.width, p.capacity = floor(p.window / BUCKETS), p.limit
    p.cur = floor(p.now / p.width)
    p.whole_in = (p.cur + 1) * p.width + p.window - p.now
  end

  -- Index of the bucket with byte `slot`, one of the 65 before `head`.
  local function index_of(slot, head)
    return head - (head - (slot - FIRST_SLOT)) % SLOTS
  end

  function strict.fresh(s, p)
    s.head, s.older, s.newest, s.sum = p.cur, 0, 0, 0
    s.value, s.prefix, s.pos, s.dropped = false, '', 0, false
  end

  function strict.anchor(s, sum, p)
    strict.fresh(s, p)
    s.newest, s.sum, s.anchored = sum, sum, true
  end

  function strict.load(s, value, p)
    local prefix, window_text, head, older, newest, pos = match(value, HEADER)
    if not pos then return 'other' end
    head, older, newest = head + 0, older + 0, newest + 0
    if byte(value, -1) ~= DOLLAR or #value > MAX_BYTES or older + newest >= EXACT or head >= EXACT then return 'corrupt' end
    local window, width, cur, same = p.window, p.width, p.cur, window_text == p.text
    if not same then
      width = floor(window_text / BUCKETS)
      if width < 1 then return 'corrupt' end
      cur = floor(p.now / width)
    end
    s.back = head > cur
    if s.back then return strict.anchor(s, older + newest, p) end -- the clock went back
    if p.now >= (head + 1) * width + window then return strict.fresh(s, p) end -- all of it has left
    local slot, dropped = byte(value, pos), false
    while slot ~= DOLLAR do
      if p.now < (index_of(slot, head) + 1) * width + window then break end
      local held, after = match(value, BUCKET, pos)
      if not after then return 'corrupt' end
      older, pos, dropped = older - held, after, true
      slot = byte(value, pos)
    end
    if older < 0 or (slot == DOLLAR and older ~= 0) then return 'corrupt' end
    if not same then return strict.anchor(s, older + newest, p) end -- buckets of another width
    s.value, s.prefix, s.pos, s.dropped = value, prefix, pos, dropped
    s.head, s.older, s.newest, s.sum = head, older, newest, older + newest
  end

  function strict.retry(s, cost, p)
    local need = cost - (p.limit - s.sum) -- never sum + cost, which may exceed 2^53
    local value, pos, head, older = s.value, s.pos, s.head, s.older
    local slot = value and byte(value, pos) or DOLLAR
    while slot ~= DOLLAR do
      local held, after = match(value, BUCKET, pos)
      if not after then return nil end
      need, older = need - held, older - held
      if need <= 0 then return (index_of(slot, head) + 1) * p.width + p.window - p.now end
      pos = after
      slot = byte(value, pos)
    end
    if older ~= 0 then return nil end
    return (head + 1) * p.width + p.window - p.now
  end

  function strict.reset(s, p)
    local last = s.head
    if s.newest == 0 and s.value then -- after a refund: the last bucket that holds something
      local value, pos = s.value, s.pos
      local slot = byte(value, pos)
      while slot ~= DOLLAR do
        local held, after = match(value, BUCKET, pos)
        if not after then break end
        if held ~= '0' then last = index_of(slot, s.head) end
        pos = after
        slot = byte(value, pos)
      end
    end
    return (last + 1) * p.width + p.window - p.now
  end

  function strict.pack(s, cost, p)
    local cur, older, newest = p.cur, s.older, s.newest
    local buckets = s.value and sub(s.value, s.pos, -2) or ''
    if s.head < cur then
      if newest > 0 then buckets = buckets .. char(FIRST_SLOT + s.head % SLOTS) .. decimal(newest) end
      older, newest = older + newest, 0
    end
    local value = format('R1S%s;%s;%s;%s%s$', p.text, decimal(cur), decimal(older), decimal(newest + cost), buckets)
    return value, p.whole_in
  end

  -- Writes in place what changes only the head bucket, whose first write set a TTL that covers all of
  -- it; tells whether it could.
  function strict.rewrite(key, s, cost, p)
    if not s.value or s.head ~= p.cur or s.dropped then return false end
    local at, text = #s.prefix, decimal(s.newest + cost)
    if at + #text + 1 == s.pos then
      call('SETRANGE', key, decimal(at), text)
    else
      call('SET', key, s.prefix .. text .. sub(s.value, s.pos), 'KEEPTTL')
    end
    return true
  end

  function strict.give(s, units, mark, p)
    local index = floor(mark / p.width)
    if index == s.head then
      local given = min(units, s.newest)
      s.newest, s.sum = s.newest - given, s.sum - given
      return given
    end
    local value, pos = s.value, s.pos
    local slot = value and byte(value, pos) or DOLLAR
    while slot ~= DOLLAR do
      local held, after = match(value, BUCKET, pos)
      if not after then return 0 end
      if index_of(slot, s.head) == index then
        local given = min(units, held + 0)
        s.value = sub(value, 1, pos) .. decimal(held - given) .. sub(value, after)
        s.older, s.sum, s.dropped = s.older - given, s.sum - given, true
        return given
      end
      pos = after
      slot = byte(value, pos)
    end
    return 0
  end

  return strict
end
