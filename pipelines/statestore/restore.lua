-- Stores a whole state where nothing is stored, in steps: one script for all of it would
-- hold Redis up for as long as a large state takes.
--
-- KEYS  1 meta, 2 ring, 3 seg
-- ARGV  1 token, 2 step, then
--       begin    nothing
--       buckets  index and value of each bucket
--       ring     how many deltas are there before, then the deltas
--       end      sequence, offset, meta, ring_first, how many deltas, how many buckets
-- Answer: applied, done, token, stored or parts.
--
-- Until the last step meta has no sequence, which says that nothing is stored: whoever loads in
-- between, or takes over after a crash, finds nothing, and begins anew.
local meta, ring, seg = KEYS[1], KEYS[2], KEYS[3]
local held = redis.call('HMGET', meta, 'token', 'seq', 'offset')
local token, seq, offset = held[1], held[2], held[3]
local step = ARGV[2]

if not token or token ~= ARGV[1] then
  return 'token'
end
if seq then
  if step == 'end' and seq == ARGV[3] and offset == ARGV[4] then
    return 'done'
  end
  return 'stored'
end

-- unpack fails on thousands of values; 1,000 are safe, and even.
local function chunks(command, key, first)
  for i = first, #ARGV, 1000 do
    redis.call(command, key, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
end

if step == 'begin' then
  redis.call('DEL', ring, seg)
elseif step == 'buckets' then
  chunks('HSET', seg, 3)
elseif step == 'ring' then
  local before, there = tonumber(ARGV[3]), redis.call('LLEN', ring)
  if there == before + #ARGV - 3 then
    return 'done' -- sent again after a lost reply
  end
  if there ~= before then
    return 'parts'
  end
  chunks('RPUSH', ring, 4)
else
  if redis.call('LLEN', ring) ~= tonumber(ARGV[7]) or redis.call('HLEN', seg) ~= tonumber(ARGV[8]) then
    return 'parts'
  end
  redis.call('HSET', meta, 'seq', ARGV[3], 'offset', ARGV[4], 'meta', ARGV[5], 'ring_first', ARGV[6])
end
return 'applied'
