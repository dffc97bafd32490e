-- probe: does nothing, so that its framed reply tells whether replies come to their own calls.
-- returns {"ok"}
return { 'ok' }
