#include "mpathd/command_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace mpath {
namespace {

using enum Keyword;

constexpr std::array spellings{
    KeywordSpelling{"show", show},
    KeywordSpelling{"list", show},
    KeywordSpelling{"add", add},
    KeywordSpelling{"del", del},
    KeywordSpelling{"remove", del},
    KeywordSpelling{"switch", switch_},
    KeywordSpelling{"switchgroup", switch_},
    KeywordSpelling{"suspend", suspend},
    KeywordSpelling{"resume", resume},
    KeywordSpelling{"reinstate", reinstate},
    KeywordSpelling{"fail", fail},
    KeywordSpelling{"resize", resize},
    KeywordSpelling{"reset", reset},
    KeywordSpelling{"reload", reload},
    KeywordSpelling{"forcequeueing", forcequeueing},
    KeywordSpelling{"disablequeueing", disablequeueing},
    KeywordSpelling{"restorequeueing", restorequeueing},
    KeywordSpelling{"reconfigure", reconfigure},
    KeywordSpelling{"export", export_},
    KeywordSpelling{"unexport", unexport},
    KeywordSpelling{"shutdown", shutdown},
    KeywordSpelling{"quit", quit},
    KeywordSpelling{"exit", quit},
    KeywordSpelling{"help", help},
    KeywordSpelling{"?", help},
    KeywordSpelling{"getprstatus", getprstatus},
    KeywordSpelling{"setprstatus", setprstatus},
    KeywordSpelling{"unsetprstatus", unsetprstatus},
    KeywordSpelling{"getprkey", getprkey},
    KeywordSpelling{"setprkey", setprkey},
    KeywordSpelling{"unsetprkey", unsetprkey},
    KeywordSpelling{"getprhold", getprhold},
    KeywordSpelling{"setprhold", setprhold},
    KeywordSpelling{"unsetprhold", unsetprhold},
    KeywordSpelling{"setmarginal", setmarginal},
    KeywordSpelling{"unsetmarginal", unsetmarginal},
    KeywordSpelling{"paths", paths},
    KeywordSpelling{"maps", maps},
    KeywordSpelling{"multipaths", maps},
    KeywordSpelling{"path", path, Argument::path_name},
    KeywordSpelling{"map", map, Argument::map_name},
    KeywordSpelling{"multipath", map, Argument::map_name},
    KeywordSpelling{"group", group, Argument::number},
    KeywordSpelling{"as", as, Argument::export_kind},
    KeywordSpelling{"key", key, Argument::text},
    KeywordSpelling{"pathlist", pathlist, Argument::text},
    KeywordSpelling{"daemon", daemon},
    KeywordSpelling{"status", status},
    KeywordSpelling{"stats", stats},
    KeywordSpelling{"topology", topology},
    KeywordSpelling{"config", config},
    KeywordSpelling{"blacklist", blacklist},
    KeywordSpelling{"devices", devices},
    KeywordSpelling{"wildcards", wildcards},
    KeywordSpelling{"raw", raw},
    KeywordSpelling{"format", format, Argument::text},
    KeywordSpelling{"json", json},
    KeywordSpelling{"local", local},
    KeywordSpelling{"origin", origin},
    KeywordSpelling{"all", all},
};

constexpr bool changes = true;

constexpr std::array forms{
    CommandForm{CommandId::show_paths, {show, paths}},
    CommandForm{CommandId::show_paths, {show, paths, format}},
    CommandForm{CommandId::show_paths, {show, paths, raw, format}},
    CommandForm{CommandId::show_path, {show, path}},
    CommandForm{CommandId::show_path, {show, path, format}},
    CommandForm{CommandId::show_path, {show, path, raw, format}},
    CommandForm{CommandId::show_maps, {show, maps}},
    CommandForm{CommandId::show_maps, {show, maps, format}},
    CommandForm{CommandId::show_maps, {show, maps, raw, format}},
    CommandForm{CommandId::show_maps_status, {show, maps, status}},
    CommandForm{CommandId::show_maps_stats, {show, maps, stats}},
    CommandForm{CommandId::show_maps_topology, {show, maps, topology}},
    CommandForm{CommandId::show_maps_topology, {show, topology}},
    CommandForm{CommandId::show_maps_json, {show, maps, json}},
    CommandForm{CommandId::show_map, {show, map}},
    CommandForm{CommandId::show_map, {show, map, format}},
    CommandForm{CommandId::show_map, {show, map, raw, format}},
    CommandForm{CommandId::show_map_topology, {show, map, topology}},
    CommandForm{CommandId::show_map_json, {show, map, json}},
    CommandForm{CommandId::show_status, {show, status}},
    CommandForm{CommandId::show_daemon, {show, daemon}},
    CommandForm{CommandId::show_config, {show, config}},
    CommandForm{CommandId::show_config_local, {show, config, local}},
    CommandForm{CommandId::show_config_origin, {show, config, origin}},
    CommandForm{CommandId::show_blacklist, {show, blacklist}},
    CommandForm{CommandId::show_devices, {show, devices}},
    CommandForm{CommandId::show_wildcards, {show, wildcards}},
    CommandForm{CommandId::add_path, {add, path}, changes},
    CommandForm{CommandId::del_path, {del, path}, changes},
    CommandForm{CommandId::add_map, {add, map}, changes},
    CommandForm{CommandId::del_map, {del, map}, changes},
    CommandForm{CommandId::del_maps, {del, maps}, changes},
    CommandForm{CommandId::fail_path, {fail, path}, changes},
    CommandForm{CommandId::reinstate_path, {reinstate, path}, changes},
    CommandForm{CommandId::resize_map, {resize, map}, changes},
    CommandForm{CommandId::switch_group, {switch_, map, group}, changes},
    CommandForm{CommandId::disable_queueing_map, {disablequeueing, map}, changes},
    CommandForm{CommandId::disable_queueing_maps, {disablequeueing, maps}, changes},
    CommandForm{CommandId::restore_queueing_map, {restorequeueing, map}, changes},
    CommandForm{CommandId::restore_queueing_maps, {restorequeueing, maps}, changes},
    CommandForm{CommandId::reset_map_stats, {reset, map, stats}, changes},
    CommandForm{CommandId::reset_maps_stats, {reset, maps, stats}, changes},
    CommandForm{CommandId::export_map, {export_, map, as}, changes},
    CommandForm{CommandId::unexport_map, {unexport, map, as}, changes},
    CommandForm{CommandId::reconfigure, {reconfigure}, changes},
    CommandForm{CommandId::reconfigure, {reconfigure, all}, changes},
    CommandForm{CommandId::shutdown, {shutdown}, changes},
    CommandForm{CommandId::quit, {quit}},
    CommandForm{CommandId::help, {help}},
    CommandForm{CommandId::not_supported, {suspend, map}, changes},
    CommandForm{CommandId::not_supported, {resume, map}, changes},
    CommandForm{CommandId::not_supported, {reload, map}, changes},
    CommandForm{CommandId::not_supported, {reset, map}, changes},
    CommandForm{CommandId::not_supported, {forcequeueing, daemon}, changes},
    CommandForm{CommandId::not_supported, {restorequeueing, daemon}, changes},
    CommandForm{CommandId::not_supported, {getprstatus, map}},
    CommandForm{CommandId::not_supported, {setprstatus, map}, changes},
    CommandForm{CommandId::not_supported, {setprstatus, map, pathlist}, changes},
    CommandForm{CommandId::not_supported, {unsetprstatus, map}, changes},
    CommandForm{CommandId::not_supported, {getprkey, map}},
    CommandForm{CommandId::not_supported, {setprkey, map, key}, changes},
    CommandForm{CommandId::not_supported, {unsetprkey, map}, changes},
    CommandForm{CommandId::not_supported, {getprhold, map}},
    CommandForm{CommandId::not_supported, {setprhold, map}, changes},
    CommandForm{CommandId::not_supported, {unsetprhold, map}, changes},
    CommandForm{CommandId::not_supported, {setmarginal, path}, changes},
    CommandForm{CommandId::not_supported, {unsetmarginal, path}, changes},
    CommandForm{CommandId::not_supported, {unsetmarginal, map}, changes},
};

struct Token {
  std::string text;
  std::size_t begin = 0;  // in the line
  bool quoted = false;
};

bool blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// A quote that is never closed ends with the line.
std::vector<Token> tokens_of(std::string_view line) {
  std::vector<Token> tokens;
  std::size_t at = 0;
  while (at < line.size()) {
    if (blank(line[at])) {
      ++at;
      continue;
    }
    Token token{.text = {}, .begin = at};
    if (const char quote = line[at]; quote == '"' || quote == '\'') {
      token.quoted = true;
      const std::size_t close = line.find(quote, at + 1);
      token.text = line.substr(at + 1, close == line.npos ? close : close - at - 1);
      at = close == line.npos ? line.size() : close + 1;
    } else {
      while (at < line.size() && !blank(line[at])) token.text += line[at++];
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// The forms that can still be meant, and how many of their words are spoken for.
struct Candidates {
  std::vector<const CommandForm*> forms;
  std::size_t words = 0;
  bool json = false;  // `json` was said where no form asks for it: nothing may follow

  [[nodiscard]] const CommandForm* complete() const {
    const auto found = std::ranges::find_if(forms, [&](const CommandForm* form) { return form->size() == words; });
    return found == forms.end() ? nullptr : *found;
  }
  // What may stand next. Every command may end in `json`.
  [[nodiscard]] std::vector<Keyword> next() const {
    std::vector<Keyword> keywords;
    if (json) return keywords;
    for (const CommandForm* form : forms)
      if (form->size() > words) keywords.push_back(form->words[words]);
    const CommandForm* whole = complete();
    const bool interactive = whole != nullptr && (whole->id == CommandId::quit || whole->id == CommandId::help);
    if (whole != nullptr && !interactive) keywords.push_back(Keyword::json);
    std::ranges::sort(keywords);
    keywords.erase(std::ranges::unique(keywords).begin(), keywords.end());
    return keywords;
  }
  void take(Keyword keyword) {
    const bool asked_for = std::ranges::any_of(
        forms, [&](const CommandForm* form) { return form->size() > words && form->words[words] == keyword; });
    if (!asked_for && keyword == Keyword::json) {
      json = true;
      return;
    }
    std::erase_if(forms, [&](const CommandForm* form) { return form->size() <= words || form->words[words] != keyword; });
    ++words;
  }
};

Candidates all_candidates() {
  Candidates candidates;
  for (const CommandForm& form : forms) candidates.forms.push_back(&form);
  return candidates;
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

// Spellings of the keywords allowed here that start with `word`.
std::vector<const KeywordSpelling*> matches(std::string_view word, const std::vector<Keyword>& allowed) {
  std::vector<const KeywordSpelling*> found;
  for (const KeywordSpelling& spelling : spellings)
    if (spelling.word.starts_with(word) && std::ranges::binary_search(allowed, spelling.keyword))
      found.push_back(&spelling);
  return found;
}

std::expected<Keyword, ParseProblem> meant(std::string_view word, const std::vector<Keyword>& allowed) {
  const auto found = matches(word, allowed);
  for (const KeywordSpelling* spelling : found)
    if (spelling->word == word) return spelling->keyword;
  const bool one = !found.empty() && std::ranges::all_of(found, [&](const KeywordSpelling* spelling) {
    return spelling->keyword == found.front()->keyword;
  });
  if (one) return found.front()->keyword;
  if (found.empty()) return std::unexpected(ParseProblem{fmt::format("unknown word '{}' (try: help)", word)});
  std::vector<std::string> words;
  for (const KeywordSpelling* spelling : found) words.emplace_back(spelling->word);
  return std::unexpected(ParseProblem{fmt::format("'{}' can mean {}", word, joined(words))});
}

std::string_view spelling_of(Keyword keyword) {
  const auto found = std::ranges::find(spellings, keyword, &KeywordSpelling::keyword);
  return found == spellings.end() ? std::string_view{} : found->word;
}

void keep_argument(ParsedCommand& command, Keyword keyword, std::string value) {
  if (keyword == Keyword::path) command.path = std::move(value);
  if (keyword == Keyword::map) command.map = std::move(value);
  if (keyword == Keyword::group) command.group = std::move(value);
  if (keyword == Keyword::as) command.as = std::move(value);
  if (keyword == Keyword::format) command.format = std::move(value);
}

}  // namespace

std::size_t CommandForm::size() const {
  return static_cast<std::size_t>(std::ranges::find(words, Keyword::end) - words.begin());
}

std::span<const KeywordSpelling> keyword_spellings() { return spellings; }
std::span<const CommandForm> command_forms() { return forms; }

Argument argument_of(Keyword keyword) {
  const auto found = std::ranges::find(spellings, keyword, &KeywordSpelling::keyword);
  return found == spellings.end() ? Argument::none : found->argument;
}

std::expected<ParsedCommand, ParseProblem> parse_command(std::string_view line) {
  const std::vector<Token> tokens = tokens_of(line);
  if (tokens.empty()) return std::unexpected(ParseProblem{"no command (try: help)"});
  ParsedCommand command;
  Candidates candidates = all_candidates();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto keyword = meant(tokens[i].text, candidates.next());
    if (!keyword) return std::unexpected(keyword.error());
    candidates.take(*keyword);
    command.raw = command.raw || *keyword == Keyword::raw;
    if (argument_of(*keyword) == Argument::none) continue;
    if (++i == tokens.size())
      return std::unexpected(ParseProblem{fmt::format("missing argument of '{}'", spelling_of(*keyword))});
    const bool rest = *keyword == Keyword::format && !tokens[i].quoted;
    keep_argument(command, *keyword, rest ? std::string(trimmed(line.substr(tokens[i].begin))) : tokens[i].text);
    if (rest) break;
  }
  const CommandForm* form = candidates.complete();
  if (form == nullptr) {
    std::vector<std::string> words;
    for (const Keyword keyword : candidates.next()) words.emplace_back(spelling_of(keyword));
    return std::unexpected(ParseProblem{fmt::format("incomplete command; next may come {}", joined(words))});
  }
  command.id = form->id;
  command.changes = form->changes;
  command.json = candidates.json || form->id == CommandId::show_maps_json || form->id == CommandId::show_map_json;
  return command;
}

std::vector<std::string> complete_command(std::string_view line, const KnownNames& names) {
  std::vector<Token> tokens = tokens_of(line);
  std::string last;  // the word to complete
  if (!line.empty() && !blank(line.back()) && !tokens.empty()) {
    last = tokens.back().text;
    tokens.pop_back();
  }
  Candidates candidates = all_candidates();
  Argument wanted = Argument::none;
  for (const Token& token : tokens) {
    if (wanted != Argument::none) {
      wanted = Argument::none;
      continue;
    }
    const auto keyword = meant(token.text, candidates.next());
    if (!keyword) return {};
    candidates.take(*keyword);
    wanted = argument_of(*keyword);
  }
  std::vector<std::string> words;
  switch (wanted) {
    case Argument::none:
      for (const KeywordSpelling* spelling : matches(last, candidates.next())) words.emplace_back(spelling->word);
      break;
    case Argument::map_name: words = names.maps; break;
    case Argument::path_name: words = names.paths; break;
    case Argument::export_kind: words = {"nbd-socket", "nbd", "tcmu", "ublk"}; break;
    case Argument::number:
    case Argument::text: break;
  }
  std::erase_if(words, [&](const std::string& word) { return !word.starts_with(last); });
  std::ranges::sort(words);
  words.erase(std::ranges::unique(words).begin(), words.end());
  return words;
}

Completion complete_line(std::string_view before_cursor, const KnownNames& names) {
  Completion completion{.insert = {}, .choices = complete_command(before_cursor, names)};
  if (completion.choices.empty()) return completion;
  std::string common = completion.choices.front();
  for (const std::string& choice : completion.choices) {
    const auto differ = std::ranges::mismatch(common, choice);
    common.erase(differ.in1, common.end());
  }
  if (completion.choices.size() == 1) common += ' ';
  const std::vector<Token> tokens = tokens_of(before_cursor);
  const bool within_word = !tokens.empty() && !blank(before_cursor.back());
  if (within_word && tokens.back().quoted) return completion;
  completion.insert = common.substr(within_word ? tokens.back().text.size() : 0);
  return completion;
}

std::string help_text() {
  std::string text = "commands (words may be shortened; every command may end in json):\n";
  for (const CommandForm& form : forms) {
    if (form.id == CommandId::not_supported) continue;
    for (std::size_t i = 0; i < form.size(); ++i) {
      std::vector<std::string> words;
      for (const KeywordSpelling& spelling : spellings)
        if (spelling.keyword == form.words[i]) words.emplace_back(spelling.word);
      text += fmt::format(" {}", fmt::join(words, "|"));
      if (argument_of(form.words[i]) != Argument::none) text += fmt::format(" ${}", words.front());
    }
    text += '\n';
  }
  return text;
}

}  // namespace mpath
