#include "base/config_text.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "base/unique_fd.hpp"

namespace mpath {
namespace {

using Severity = ConfigProblem::Severity;

bool is_blank(char letter) { return letter == ' ' || letter == '\t' || letter == '\r' || letter == '\v' || letter == '\f'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Hands out lines with their numbers.
class Lines {
 public:
  Lines(std::string_view text, const std::string& file) : text_(text), file_(file) {
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);  // some editors put a byte order mark
  }
  bool next(std::string_view& line) {
    if (text_.empty()) return false;
    const std::size_t end = std::min(text_.find('\n'), text_.size());
    line = text_.substr(0, end);
    text_.remove_prefix(std::min(end + 1, text_.size()));
    ++number_;
    return true;
  }
  [[nodiscard]] Origin here() const { return Origin{file_, number_}; }

 private:
  std::string_view text_;
  const std::string& file_;
  unsigned number_ = 0;
};

ConfigTree parse_flat(std::string_view text, const std::string& file) {
  ConfigTree tree;
  tree.root.origin = Origin{file, 0};
  Lines lines(text, file);
  for (std::string_view line; lines.next(line);) {
    const auto complain = [&](std::string what) { tree.problems.push_back({Severity::error, lines.here(), std::move(what)}); };
    line = trim(line);
    if (line.empty() || line.front() == '#') continue;
    if (line.find('\0') != std::string_view::npos) {
      complain("the line holds a zero byte: this is not a text file");
      continue;
    }
    const std::size_t equals = line.find('=');
    const std::string_view key = trim(line.substr(0, equals));
    if (equals == std::string_view::npos) {
      complain(fmt::format("\"{}\" is not \"key = value\"", line));
    } else if (key.empty()) {
      complain("there is no key before the =");
    } else if (std::any_of(key.begin(), key.end(), is_blank)) {
      complain(fmt::format("the key \"{}\" holds a blank", key));
    } else {
      tree.root.entries.push_back({std::string(key), std::string(trim(line.substr(equals + 1))), lines.here()});
    }
  }
  return tree;
}

struct Token {
  enum class Kind : std::uint8_t { word, open, close, end } kind = Kind::word;
  std::string text;
};

// One line of the section grammar as tokens. False when a quote is not closed or a zero byte is met.
bool tokenize(std::string_view line, ConfigGrammar grammar, std::vector<Token>& tokens, std::string& what) {
  const bool blocks = grammar == ConfigGrammar::blocks;
  const char* const ends_word = blocks ? " \t\r\v\f{}\"" : " \t\r\v\f{}\"#!";
  tokens.clear();
  for (std::size_t at = 0; at < line.size();) {
    const char letter = line[at];
    if (is_blank(letter)) {
      ++at;
    } else if (letter == '#' || (letter == '!' && !blocks)) {
      return true;
    } else if (letter == '{' || letter == '}') {
      tokens.push_back({letter == '{' ? Token::Kind::open : Token::Kind::close, {}});
      ++at;
    } else if (letter == ';' && blocks) {
      tokens.push_back({Token::Kind::end, {}});
      ++at;
    } else if (letter == '"') {
      std::string text;
      for (++at;; ++at) {
        if (at >= line.size()) {
          what = "a quote is not closed before the end of the line";
          return false;
        }
        if (line[at] == '"' && (at + 1 >= line.size() || line[at + 1] != '"')) break;
        if (line[at] == '"') ++at;  // "" stands for one
        text.push_back(line[at]);
      }
      ++at;
      tokens.push_back({Token::Kind::word, std::move(text)});
    } else {
      std::size_t end = std::min(line.find_first_of(ends_word, at), line.size());
      if (blocks && line[end - 1] == ';') --end;
      tokens.push_back({Token::Kind::word, std::string(line.substr(at, end - at))});
      at = end;
    }
  }
  return true;
}

// Builds the tree from tokens; `open_` is the way down to the section that lines belong to.
class SectionParser {
 public:
  SectionParser(ConfigGrammar grammar, const std::string& file) : grammar_(grammar) {
    tree_.root.origin = Origin{file, 0};
    open_.push_back(&tree_.root);
  }

  void line(std::string_view text, const Origin& here) {
    if (text.find('\0') != std::string_view::npos) return complain(here, "the line holds a zero byte: this is not a text file");
    std::string what;
    if (!tokenize(text, grammar_, tokens_, what)) return complain(here, std::move(what));
    for (std::size_t at = 0; at < tokens_.size();) at = statement(at, here);
  }

  ConfigTree finish() {
    // A section that stays open takes everything behind it by mistake; its first line is the place to look.
    while (open_.size() > 1) {
      complain(open_.back()->origin, fmt::format("section \"{}\" is not closed", open_.back()->name));
      open_.pop_back();
    }
    if (skipped_ > 0) complain(tree_.root.origin, "sections nested too deep are not closed");
    return std::move(tree_);
  }

 private:
  // Parses what begins at token `at` and returns where the next begins.
  std::size_t statement(std::size_t at, const Origin& here) {
    const Token& first = tokens_[at];
    if (first.kind == Token::Kind::close) {
      close(here);
      return at + 1;
    }
    if (first.kind == Token::Kind::end) return at + 1;
    if (first.kind == Token::Kind::open) {
      complain(here, "a section without a name");
      begin({}, {}, here);
      return at + 1;
    }
    if (at + 1 < tokens_.size() && tokens_[at + 1].kind == Token::Kind::open) {
      begin(first.text, {}, here);
      return at + 2;
    }
    if (grammar_ == ConfigGrammar::blocks && at + 2 < tokens_.size() && tokens_[at + 2].kind == Token::Kind::open) {
      begin(first.text, tokens_[at + 1].text, here);
      return at + 3;
    }
    if (at + 1 >= tokens_.size() || tokens_[at + 1].kind != Token::Kind::word) {
      complain(here, fmt::format("\"{}\" has no value", first.text));
      return at + 1;
    }
    if (grammar_ == ConfigGrammar::blocks) return entry_of_words(at, here);
    if (skipped_ == 0) open_.back()->entries.push_back({first.text, tokens_[at + 1].text, here});
    std::size_t end = at + 2;
    while (end < tokens_.size() && tokens_[end].kind == Token::Kind::word) ++end;
    if (end > at + 2) {
      const std::string what = fmt::format("\"{}\" after the value of \"{}\" is ignored: a value of several words is put in quotes",
                                           tokens_[at + 2].text, first.text);
      tree_.problems.push_back({Severity::warning, here, what});
    }
    return end;
  }

  std::size_t entry_of_words(std::size_t at, const Origin& here) {
    ConfigEntry entry{.key = tokens_[at].text, .value = {}, .origin = here};
    for (++at; at < tokens_.size() && tokens_[at].kind == Token::Kind::word; ++at) {
      if (!entry.words.empty()) entry.value += ' ';
      entry.value += tokens_[at].text;
      entry.words.push_back(tokens_[at].text);
    }
    if (skipped_ == 0) open_.back()->entries.push_back(std::move(entry));
    return at;
  }

  void begin(const std::string& name, const std::string& label, const Origin& here) {
    if (skipped_ > 0 || open_.size() > config_depth_max) {
      if (skipped_++ == 0) complain(here, "sections are nested too deep");
      return;
    }
    // Sections of the same parent move when it grows; only the innermost is ever appended to, so the pointers above stay good.
    ConfigSection& parent = *open_.back();
    parent.sections.push_back({});
    parent.sections.back().name = name;
    parent.sections.back().label = label;
    parent.sections.back().origin = here;
    open_.push_back(&parent.sections.back());
  }

  void close(const Origin& here) {
    if (skipped_ > 0) {
      --skipped_;
    } else if (open_.size() == 1) {
      complain(here, "a } without a section to close");
    } else {
      open_.pop_back();
    }
  }

  void complain(const Origin& here, std::string what) { tree_.problems.push_back({Severity::error, here, std::move(what)}); }

  ConfigGrammar grammar_;
  ConfigTree tree_;
  std::vector<ConfigSection*> open_;
  unsigned skipped_ = 0;  // open sections below the deepest that is kept
  std::vector<Token> tokens_;
};

ConfigTree parse_sections(ConfigGrammar grammar, std::string_view text, const std::string& file) {
  SectionParser parser(grammar, file);
  Lines lines(text, file);
  for (std::string_view line; lines.next(line);) parser.line(line, lines.here());
  return parser.finish();
}

}  // namespace

std::string Origin::text() const {
  if (file.empty()) return "default";
  return line == 0 ? file : fmt::format("{}:{}", file, line);
}

std::string ConfigProblem::text() const { return fmt::format("{}: {}", origin.text(), what); }

bool has_errors(const ConfigProblems& problems) {
  return std::any_of(problems.begin(), problems.end(),
                     [](const ConfigProblem& problem) { return problem.severity == Severity::error; });
}

std::vector<const ConfigSection*> ConfigSection::at(std::string_view path) const {
  if (path.empty()) return {this};
  const std::size_t dot = std::min(path.find('.'), path.size());
  std::vector<const ConfigSection*> found;
  for (const ConfigSection& section : sections) {
    if (section.name != path.substr(0, dot)) continue;
    const auto below = section.at(path.substr(std::min(dot + 1, path.size())));
    found.insert(found.end(), below.begin(), below.end());
  }
  return found;
}

void ConfigSection::append(ConfigSection&& later) {
  entries.insert(entries.end(), std::make_move_iterator(later.entries.begin()), std::make_move_iterator(later.entries.end()));
  sections.insert(sections.end(), std::make_move_iterator(later.sections.begin()),
                  std::make_move_iterator(later.sections.end()));
}

ConfigTree parse_config(ConfigGrammar grammar, std::string_view text, const std::string& file) {
  switch (grammar) {
    case ConfigGrammar::flat: return parse_flat(text, file);
    case ConfigGrammar::sections:
    case ConfigGrammar::blocks: return parse_sections(grammar, text, file);
  }
  return {};
}

Result<ConfigTree> read_config(ConfigGrammar grammar, const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return failure(errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return failure(errno);
  if (S_ISDIR(status.st_mode)) return failure(EISDIR);
  std::string text;
  char chunk[16384];
  for (;;) {
    const ssize_t size = ::read(fd.get(), chunk, sizeof chunk);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return failure(errno);
    if (size == 0) break;
    text.append(chunk, static_cast<std::size_t>(size));
    if (text.size() > config_bytes_max) return failure(EFBIG);
  }
  return parse_config(grammar, text, file.string());
}

std::string config_quoted(std::string_view value) {
  if (!value.empty() && value.find_first_of(" \t\r\v\f{}\"#!;") == std::string_view::npos) return std::string(value);
  std::string text = "\"";
  for (const char letter : value) {
    if (letter == '"') text.push_back('"');
    text.push_back(letter);
  }
  text.push_back('"');
  return text;
}

}  // namespace mpath
