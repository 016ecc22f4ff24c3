-- Draws a new owner's token and stores it.
--
-- KEYS  1 meta
-- ARGV  1 random part
-- Answer: the token. Sent again after a lost reply it answers the same token.
local token = redis.call('HGET', KEYS[1], 'token')
if token and string.sub(token, -#ARGV[1]) == ARGV[1] then
  return token
end
redis.call('HINCRBY', KEYS[1], 'owners', 1)
-- The counter is read back because HINCRBY's answer is a Lua number.
token = redis.call('HGET', KEYS[1], 'owners') .. ':' .. ARGV[1]
redis.call('HSET', KEYS[1], 'token', token)
return token
