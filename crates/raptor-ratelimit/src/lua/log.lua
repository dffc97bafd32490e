-- log: the exact record of what was taken, for limits of at most 1,000. State, layout 1:
--   'R1L<window_us>;<sum>;<base>;<newest>;<entries>$'
--   entries  oldest first: '<delta>,' for one unit, '<delta>*<units>,' for more; delta in us since the
--            entry before, or since base
-- Units taken at t count while now < t + window.
-- returns nothing: a part of the script that decides, see base.lua
local function new_log(decimal)
  local min, match, format, byte, sub = math.min, string.match, string.format, string.byte, string.sub
  local EXACT, DOLLAR = 9007199254740992, 36 -- from 2^53 on numbers are not exact
  local log = { shape = false, fresh = false, anchor = false, load = false, retry = false, reset = false, pack = false, give = false } -- with room for all of them
  local LOG_HEADER = '^R1L(%d+);(%d+);(%d+);(%d+);()'
  local ENTRY = '^(%d+)%*?(%d*),()'
  local MOST, MAX_LOG_BYTES = 1000, 40000

  -- Of an entry at `pos`: its delta, its units and where the next begins; nil at the end or at damage.
  local function entry_at(value, pos)
    local delta, units, after = match(value, ENTRY, pos)
    if not after then return nil end
    return delta + 0, units == '' and 1 or units + 0, after
  end

  local function entry(delta, units)
    if units == 1 then return decimal(delta) .. ',' end
    return decimal(delta) .. '*' .. decimal(units) .. ','
  end

  function log.shape(p)
    p.limit = min(p.limit, MOST) -- an override may name more
    p.capacity = p.limit
  end

  function log.fresh(s, p)
    s.value, s.pos, s.base, s.newest, s.sum = '$', 1, p.now, p.now, 0
  end

  function log.anchor(s, sum, p)
    log.fresh(s, p)
    s.sum, s.anchored = sum, true
    if sum > 0 then s.value = entry(0, sum) .. '$' end
  end

  function log.load(s, value, p)
    local _, sum, base, newest, pos = match(value, LOG_HEADER)
    if not pos then return 'other' end
    sum, base, newest = sum + 0, base + 0, newest + 0
    if byte(value, -1) ~= DOLLAR or #value > MAX_LOG_BYTES or sum >= EXACT or newest >= EXACT or base > newest then return 'corrupt' end
    s.back = p.now < newest
    if s.back then return log.anchor(s, sum, p) end -- the clock went back
    if sum == 0 or p.now >= newest + p.window then return log.fresh(s, p) end -- all of it has left
    local delta, units, after = entry_at(value, pos)
    while delta and p.now >= base + delta + p.window do
      sum, base, pos = sum - units, base + delta, after
      delta, units, after = entry_at(value, pos)
    end
    if not delta or sum < units then return 'corrupt' end -- the newest has not left
    s.value, s.pos, s.base, s.newest, s.sum = value, pos, base, newest, sum
  end

  function log.retry(s, cost, p)
    local need, at, pos = cost - (p.limit - s.sum), s.base, s.pos
    while need > 0 do
      local delta, units, after = entry_at(s.value, pos)
      if not delta then return nil end
      need, at, pos = need - units, at + delta, after
    end
    return at + p.window - p.now
  end

  function log.reset(s, p)
    return s.newest + p.window - p.now
  end

  function log.pack(s, cost, p)
    local entries, base, newest = sub(s.value, s.pos, -2), s.base, s.newest
    if entries == '' then base, newest = p.now, p.now end
    if cost > 0 then
      entries, newest = entries .. entry(p.now - newest, cost), p.now
      s.newest = p.now
    end
    local value = format('R1L%s;%s;%s;%s;%s$', p.text, decimal(s.sum + cost), decimal(base), decimal(newest), entries)
    return value, newest + p.window - p.now
  end

  function log.give(s, units, mark)
    local value, at, pos = s.value, s.base, s.pos
    local delta, held, after = entry_at(value, pos)
    while delta and at + delta < mark do
      at, pos = at + delta, after
      delta, held, after = entry_at(value, pos)
    end
    if not delta or at + delta ~= mark then return 0 end
    -- Those of one time are alike: a receipt is for so many of them, whichever entry they stand in.
    local next_delta, next_held, next_after = entry_at(value, after)
    while next_delta == 0 do
      held, after = held + next_held, next_after
      next_delta, next_held, next_after = entry_at(value, after)
    end
    if held < units then return 0 end
    local rest = sub(value, after)
    if held > units then
      rest = entry(delta, held - units) .. rest
    elseif next_delta then -- it counts from the one before
      rest = entry(delta + next_delta, next_held) .. sub(value, next_after)
    else
      s.newest = at
    end
    s.value, s.pos, s.sum = sub(value, s.pos, pos - 1) .. rest, 1, s.sum - units
    return units
  end

  return log
end
