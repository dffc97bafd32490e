-- rulings: what was ruled on the limits of one user.
-- KEYS[1] rulings  hash  field -> '<units>;<until>;<blocked>', and the layout in `v`; at most 1,001 fields
-- returns {"ok", now_us, field, value, ...} | {"layout"}
local time = redis.call('TIME')
local layout = redis.call('HGET', KEYS[1], 'v')
if layout and layout ~= '1' then return { 'layout' } end
local reply = { 'ok', time[1] * 1000000 + time[2] }
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= 'v' then
    reply[#reply + 1] = all[i]
    reply[#reply + 1] = all[i + 1]
  end
end
return reply
