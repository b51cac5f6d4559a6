# Words for assertions, in plain sh; see README. The exit status at the end tells whether all held.
failed=0
good() { printf 'ok - %s\n' "$1"; }
bad() {
    failed=1
    printf 'not ok - %s: %s\n' "$1" "$(printf '%s' "$2" | tr '\n' '|')"
}
equal() { if [ "$2" = "$3" ]; then good "$1"; else bad "$1" "wanted <$2>, have <$3>"; fi; }
contains() { case $3 in *"$2"*) good "$1" ;; *) bad "$1" "no <$2> in <$3>" ;; esac; }
lacks() { case $3 in *"$2"*) bad "$1" "<$2> is in <$3>" ;; *) good "$1" ;; esac; }
matches() { if printf '%s\n' "$3" | grep -Eq -- "$2"; then good "$1"; else bad "$1" "no line like <$2> in <$3>"; fi; }
succeeds() {
    text=$1
    shift
    if output=$("$@" 2>&1); then good "$text"; else bad "$text" "$* ended with $?: $output"; fi
}
fails() {
    text=$1 code=$2 part=$3
    shift 3
    errors=$("$@" 2>&1 >/dev/null)
    status=$?
    if [ "$status" != "$code" ]; then
        bad "$text" "$* ended with $status, wanted $code: $errors"
    else
        contains "$text" "$part" "$errors"
    fi
}
eventually() {
    text=$1
    shift
    tries=0
    until output=$("$@" 2>&1); do
        tries=$((tries + 1))
        if [ "$tries" = 200 ]; then
            bad "$text" "$* never succeeded: $output"
            return
        fi
        sleep 0.1
    done
    good "$text"
}
differs() { # the environment says whose value is the right one
    case $ENGINE in docker) equal "$1" "$2" "$4" ;; *) equal "$1" "$3" "$4" ;; esac
    printf 'differs - %s\n' "$5"
}
trap 'status=$?; [ "$status" != 0 ] || exit "$failed"' EXIT
