/**
 * What `banger complete bash` prints. The library's own script puts the words of the command line together and evaluates
 * them, so that a `>` or `$(…)` among them is obeyed when the tab key is hit, and needs the bash-completion package.
 */
export const BASH_SCRIPT = `# bash completion for banger
_banger() {
    local word glued="" cur line
    local -a words=() lines=()
    # bash splits words at = and :; here they are whole, up to the cursor.
    for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ \${#words[@]} -gt 0 && ( -n $glued || $word == [=:]* ) ]]; then words[-1]+=$word; else words+=("$word"); fi
        if [[ $word == *[=:] ]]; then glued=1; else glued=""; fi
    done
    cur=\${COMP_WORDS[COMP_CWORD]}
    if [[ $cur == [=:] ]]; then cur=""; fi
    mapfile -t lines < <(banger complete -- "\${words[@]}" 2> /dev/null)
    COMPREPLY=()
    for line in "\${lines[@]}"; do
        line=\${line%%$'\\t'*}
        # The last one is a number for the library's scripts.
        if [[ $line != :* && $line == "$cur"* ]]; then COMPREPLY+=("$line"); fi
    done
    # After a directory, more is typed.
    if [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == */ ]]; then compopt -o nospace; fi
}
complete -F _banger banger`
