-- command: runs the command that ARGV holds, so that its reply comes framed.
-- KEYS[*] the command's keys, declared for routing; they stand in ARGV too
-- ARGV    the command's name and arguments, at most 7,000
-- returns the command's own reply
return redis.call(unpack(ARGV))
