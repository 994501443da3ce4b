-- An instance joins the epoch of a partition, and begins one where there is none: Redis is new, or lost its data.
--
-- KEYS[1] the epoch; ARGV instance, boot, an id for a new epoch, `rebuilding` or `ready`. Returns the epoch's id.
local id = redis.call('HGET', KEYS[1], 'id')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not id then
  id = ARGV[3]
  redis.call('HSET', KEYS[1], 'id', id, 'born', string.format('%.0f', now))
end
if ARGV[4] == 'rebuilding' then
  redis.call('HSET', KEYS[1], 'r:' .. ARGV[1], string.format('%.0f', now))
else
  redis.call('HDEL', KEYS[1], 'r:' .. ARGV[1])
  redis.call('HSET', KEYS[1], 'k:' .. ARGV[1], ARGV[2] .. string.format(' %.0f', now))
end
return id
