#include "target/config/drbd_text.hpp"

#include <algorithm>

namespace mpath::target {
namespace {

constexpr unsigned depth_max = 16;
constexpr std::string_view blanks = " \t\r\n";

struct Token {
  enum class Kind { end, word, semicolon, open, close } kind = Kind::end;
  std::string text;
  unsigned line = 0;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Token next() {
    skip();
    if (at_ == text_.size()) return {.line = line_};
    const char letter = text_[at_];
    Token token{.line = line_};
    if (letter == ';' || letter == '{' || letter == '}') {
      ++at_;
      token.kind = letter == ';' ? Token::Kind::semicolon : letter == '{' ? Token::Kind::open : Token::Kind::close;
      return token;
    }
    token.kind = Token::Kind::word;
    if (letter == '"') {
      const std::size_t end = std::min(text_.find('"', at_ + 1), text_.size());
      token.text = text_.substr(at_ + 1, end - at_ - 1);
      line_ += static_cast<unsigned>(std::ranges::count(token.text, '\n'));
      at_ = std::min(end + 1, text_.size());
    } else {
      const std::size_t end = std::min(text_.find_first_of(" \t\r\n;{}#\"", at_), text_.size());
      token.text = text_.substr(at_, end - at_);
      at_ = end;
    }
    return token;
  }

 private:
  void skip() {
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '#') at_ = std::min(text_.find('\n', at_), text_.size());
      if (at_ == text_.size()) return;
      if (text_[at_] == '\n') ++line_;
      if (blanks.find(text_[at_]) == blanks.npos) return;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_ = 1;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  DrbdText parse() {
    DrbdText result;
    // A brace too many ends a list early: what follows is read all the same.
    while (!list(result.statements, 0)) broken(line_);
    result.broken_line = broken_line_;
    return result;
  }

 private:
  // Up to the end (true) or a closing brace.
  bool list(std::vector<DrbdStatement>& into, unsigned depth) {
    DrbdStatement statement;
    const auto finish = [&] {
      if (!statement.words.empty()) into.push_back(std::move(statement));
      statement = {};
    };
    for (;;) {
      Token token = lexer_.next();
      line_ = token.line;
      switch (token.kind) {
        case Token::Kind::end:
          if (depth > 0 || !statement.words.empty()) broken(token.line);
          finish();
          return true;
        case Token::Kind::close:
          if (!statement.words.empty()) broken(token.line);  // a ; is missing
          finish();
          return false;
        case Token::Kind::semicolon:
          finish();
          break;
        case Token::Kind::word:
          if (statement.words.empty()) statement.line = token.line;
          statement.words.push_back(std::move(token.text));
          break;
        case Token::Kind::open: {
          if (statement.words.empty()) {
            statement.words.emplace_back("{");
            statement.line = token.line;
          }
          if (depth >= depth_max) {
            broken(token.line);
            return true;
          }
          statement.block = true;
          const bool ended = list(statement.inner, depth + 1);
          finish();
          if (ended) return true;
          break;
        }
      }
    }
  }

  void broken(unsigned line) {
    if (broken_line_ == 0) broken_line_ = line;
  }

  Lexer lexer_;
  unsigned line_ = 1;
  unsigned broken_line_ = 0;
};

}  // namespace

DrbdText parse_drbd(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace mpath::target
