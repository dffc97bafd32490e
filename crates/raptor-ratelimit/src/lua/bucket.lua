-- bucket: the token bucket, kept as GCRA's theoretical arrival time, in integers. State, layout 1:
--   'R1G<limit>/<window_us>;<last>;<tat>;<fraction>$'
--   last  when it was last written: an earlier clock has gone back
--   tat   when the bucket will be whole, in us, and `fraction` of `parts` more
-- What another policy counted may be more than this bucket holds (tat - last > a whole bucket): it stays
-- counted, but nobody waits for it longer than this bucket takes to fill, counted from `last`.
-- A unit takes window / limit us to come back. Reduced by their divisor that is unit_us / parts,
-- so every moment is a whole number of us and of parts, and nothing is ever rounded. The Rust side
-- takes care that burst * parts stays below 2^53.
-- returns nothing: a part of the script that decides, see base.lua
local function new_bucket(decimal)
  local floor, ceil, min, max, match = math.floor, math.ceil, math.min, math.max, string.match
  local format, sub = string.format, string.sub
  local EXACT = 9007199254740992 -- from 2^53 on numbers are not exact
  -- The quicker one is of C's long, which has 32 bits in some servers.
  local NUMBERS = format('%d', EXACT - 1) == '9007199254740991' and ';%d;%d$' or ';%.0f;%.0f$'
  local ROOT = 94906265 -- its square is below
  local bucket = { shape = false, fresh = false, anchor = false, load = false, retry = false, reset = false, pack = false, give = false } -- with room for all of them
  local BUCKET_HEADER = '^R1G(%d+)/(%d+);(%d+);(%d+);(%d+)%$$'

  -- How long `units` take to come back: us, and parts of one.
  local function span(units, p)
    local parts = units * p.rest
    return units * p.whole + floor(parts / p.parts), parts % p.parts
  end

  -- An override may name more than can be told exactly. Whole windows of ROOT units always can; of a
  -- burst as much is held as can.
  function bucket.shape(p)
    local a, b = p.window, p.limit
    while b > 0 do a, b = b, a % b end
    if p.limit > ROOT and (p.burst or p.limit) * (p.limit / a) >= EXACT then
      p.limit = ROOT
      return bucket.shape(p)
    end
    p.unit_us, p.parts = p.window / a, p.limit / a
    p.whole, p.rest = floor(p.unit_us / p.parts), p.unit_us % p.parts
    p.most = min(floor((EXACT - 1) / p.parts), floor(1e15 / (p.whole + 1)))
    p.capacity = min(p.burst or p.limit, p.most)
    p.full_us, p.full_parts = span(p.capacity, p)
    p.head = format('R1G%.0f/%s;', p.limit, p.text or '')
  end

  -- How many units are begun or to come in so long. Where the numbers are too large for one exact
  -- division it is estimated and then made exact.
  local function units_in(us, parts, p)
    if us < 0 then return 0 end
    local all = us * p.parts + parts
    local units = floor(all / p.unit_us)
    if all < 4503599627370496 then return ceil(all / p.unit_us) end -- 2^52
    for _ = 1, 8 do
      local whole, rest = span(units, p)
      if units == 0 or whole < us or (whole == us and rest <= parts) then break end
      units = units - 1
    end
    for _ = 1, 8 do
      local whole, rest = span(units, p)
      if whole > us or (whole == us and rest >= parts) then break end
      units = units + 1
    end
    return units
  end

  -- Until nothing of what was there when it was last written counts any more.
  local function filled(s, p)
    return s.last + p.full_us + (p.full_parts > 0 and 1 or 0) - p.now
  end

  function bucket.fresh(s, p)
    s.last, s.tat, s.fraction, s.sum = p.now, p.now, 0, 0
  end

  function bucket.anchor(s, sum, p, at)
    at = at or p.now
    s.sum, s.anchored = min(sum, p.most), true
    local us, parts = span(s.sum, p)
    s.last, s.tat, s.fraction = at, at + us, parts
  end

  -- Under an override that ended at `till` it drained as that says, and since then as `p` does.
  function bucket.load(s, value, p, till)
    local limit, window, last, tat, fraction = p.limit, p.window, nil, nil, nil
    if sub(value, 1, #p.head) == p.head then
      last, tat, fraction = match(value, '^(%d+);(%d+);(%d+)%$$', #p.head + 1)
    else
      limit, window, last, tat, fraction = match(value, BUCKET_HEADER)
    end
    if not last then return match(value, '^R1G') and 'corrupt' or 'other' end
    limit, window, last, tat, fraction = limit + 0, window + 0, last + 0, tat + 0, fraction + 0
    if limit < 1 or limit >= EXACT or window < 1 or window >= EXACT then return 'corrupt' end
    if tat < last or tat >= EXACT or fraction >= limit then return 'corrupt' end
    local back = p.now < last
    if back then last, tat, s.back = p.now, tat - last + p.now, true end
    local changed, at = limit ~= p.limit or window ~= p.window, p.now
    if changed and till and window == p.window then at = min(at, max(last, till)) end
    if tat < at or (tat == at and fraction == 0) then return bucket.fresh(s, p) end -- whole again
    if changed then -- units of another length
      local old = { limit = limit, window = window, burst = 1, now = p.now }
      bucket.shape(old)
      bucket.anchor(s, units_in(tat - at, fraction, old), p, at)
      if at == p.now then return end
      last, tat, fraction, s.anchored = at, s.tat, s.fraction, false
      if tat < p.now or (tat == p.now and fraction == 0) then return bucket.fresh(s, p) end
    end
    s.last = last
    local over = tat - last > p.full_us or (tat - last == p.full_us and fraction > p.full_parts)
    if over and filled(s, p) <= 0 then return bucket.fresh(s, p) end
    s.tat, s.fraction, s.anchored = tat, fraction, back or changed
    s.sum = units_in(tat - p.now, fraction, p)
  end

  function bucket.retry(s, cost, p)
    local us, parts = span(cost, p)
    us, parts = s.tat + us - p.full_us - p.now, s.fraction + parts - p.full_parts
    return min(us + ceil(parts / p.parts), filled(s, p))
  end

  function bucket.reset(s, p)
    return min(s.tat - p.now + (s.fraction > 0 and 1 or 0), filled(s, p))
  end

  function bucket.pack(s, cost, p)
    local us, parts = span(cost, p)
    if cost > 0 then s.last = p.now end -- else what is above the capacity would begin to fill anew
    s.tat, s.fraction = s.tat + us + floor((s.fraction + parts) / p.parts), (s.fraction + parts) % p.parts
    local value = p.head .. decimal(s.last) .. format(NUMBERS, s.tat, s.fraction)
    return value, bucket.reset(s, p) + 1
  end

  -- What has come back by itself is not given once more: of what was taken, the end is at `mark`, exact
  -- where nothing was taken after it. Else those after it end earlier now than their receipts say, and
  -- by how much nobody remembers: they are void.
  function bucket.give(s, units, mark, p)
    local us, parts = s.tat - p.now, s.fraction
    local newest = mark == s.tat + (parts > 0 and 1 or 0)
    if not newest then us, parts = min(us, mark - p.now - (p.parts > 1 and 1 or 0)), 0 end
    local given = min(units, units_in(us, parts, p))
    if given < 1 then return 0 end
    local all_us, all_parts = span(given, p)
    if all_us < us or (all_us == us and all_parts < parts) then us, parts = all_us, all_parts end
    s.tat, s.fraction = s.tat - us, s.fraction - parts
    if s.fraction < 0 then s.tat, s.fraction = s.tat - 1, s.fraction + p.parts end
    s.sum, s.anchored = units_in(s.tat - p.now, s.fraction, p), not newest
    return given
  end

  return bucket
end
