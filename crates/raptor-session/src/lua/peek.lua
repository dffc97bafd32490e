-- peek: who a session is and how it stands, without its fields and without a slide.
-- KEYS[1] session  hash, see head.lua
-- ARGV[1] now_ms   int, or '' for the server's clock
-- returns {"ok", now_ms, head, seal} | {"none", now_ms} | another status of head.lua

local now = clock(ARGV[1])
local head, status = load(KEYS[1], now)
if status and status[1] == 'none' then status[2] = int(now) end
if not head then return status end
return {'ok', int(now), head.text, head.seal or ''}
