# supervisor: runs one server and sees to its end, whatever becomes of the test process.
# $1       the server's folder, removed at the end
# $2 ...   the server's command line
# stdin    signal names, one a line; end of file means that the owner is gone (dropped, or killed)
#          "leave", after an exit was reported: end without removing the folder
# stdout   "pid N", "sent SIGNAL" for each signal, "exit STATUS" once
folder=$1
shift
exec 3<&0
"$@" </dev/null >>"$folder/server.log" 2>&1 3<&- &
server=$!
trap '' HUP INT TERM PIPE
echo "pid $server"
(
    while read -r signal; do
        kill -s "$signal" "$server"
        echo "sent $signal"
    done
    kill -s KILL "$server"
) <&3 3<&- 2>/dev/null &
watcher=$!
wait "$server"
status=$?
# From here the server's pid may belong to someone else, so the watcher ends first.
kill -s KILL "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
echo "exit $status" 2>/dev/null
while read -r word; do
    [ "$word" = leave ] && exit 0
done <&3
rm -rf "$folder"
