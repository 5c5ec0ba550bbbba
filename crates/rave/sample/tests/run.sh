#!/bin/sh
# Runs the program on a few inputs and compares what it prints.
set -u
program=$1
failed=0
check() {
    found=$(printf "$1" | "$program")
    if [ "$found" = "$2" ]; then echo "PASS: $2"; else echo "FAIL: wanted '$2', found '$found'"; failed=1; fi
}
check '' '0 0 0'
check 'two words\n' '1 2 10'
check '  spaced \t out \n\n' '2 2 17'
exit $failed
