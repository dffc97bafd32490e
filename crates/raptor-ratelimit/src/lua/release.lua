-- release: one permit of a subject given back.
-- KEYS[1] permits  zset  id -> when it expires, us
-- ARGV[1] id      of this permit
-- ARGV[2] now_us  '' for the server's TIME; a given clock is for tests and models
-- returns {"released"} | {"gone"} it had expired, or was released before | {"layout"}
-- It takes off this id and no other, so a permit that expired frees nobody else's place. One that
-- expired can still stand there: nobody asked for a place since.
local call = redis.call
local id = ARGV[1]
local time = call('TIME')
local now = ARGV[2] ~= '' and ARGV[2] + 0 or time[1] * 1000000 + time[2]

if call('ZSCORE', KEYS[1], 'v2') then return { 'layout' } end
local expires = call('ZSCORE', KEYS[1], id)
if not expires then return { 'gone' } end
call('ZREM', KEYS[1], id)
return { expires + 0 > now and 'released' or 'gone' }
