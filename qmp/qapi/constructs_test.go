//qapi:schema

package qapi

// AllTypes has a member of each basic type.
type AllTypes struct {
	Str   string     `qapi:"str"`
	Bool  bool       `qapi:"bool"`
	Num   float64    `qapi:"num"`
	I8    int8       `qapi:"i8"`
	I16   int16      `qapi:"i16"`
	I32   int32      `qapi:"i32"`
	I64   int64      `qapi:"i64"`
	U8    uint8      `qapi:"u8"`
	U16   uint16     `qapi:"u16"`
	U32   uint32     `qapi:"u32"`
	U64   uint64     `qapi:"u64"`
	Any   Value      `qapi:"any"`
	Nil   NullType   `qapi:"nil"`
	Enum  Letter     `qapi:"enum"`
	List  LetterList `qapi:"list"`
	MaybA Value      `qapi:"maybe-any,optional"`
	MaybF *float64   `qapi:"maybe-num,feature=deprecated,feature=unstable"`
	MaybL LetterList `qapi:"maybe-list,optional"`
}

// Letter is an enumeration with features.
//
//qapi:features unstable
type Letter string

// The letters.
const (
	LetterA Letter = "a"
	LetterB Letter = "b"
	// LetterC is deprecated.
	//
	//qapi:features deprecated
	LetterC Letter = "c"
)

// LetterList is a list of letters.
type LetterList []Letter

// LetterBase has a union's discriminator.
type LetterBase struct {
	Id     string `qapi:"id"`
	Letter Letter `qapi:"letter,discriminator"`
}

// Inner is a union within one.
type Inner struct {
	Kind Letter     `qapi:"kind,discriminator"`
	C    *InnerMost `qapi:",branch=c"`
}

// InnerMost is the branch of a branch.
type InnerMost struct {
	Deep  *int64 `qapi:"deep"`
	Deep2 int64  `qapi:"deep-2"`
}

// Outer is a union whose members come from a base and whose branches are a union
// and a struct.
type Outer struct {
	LetterBase
	A *Inner     `qapi:",branch=a"`
	B *InnerMost `qapi:",branch=b"`
}

// OuterList is a list of unions.
type OuterList []Outer

// StrOrNumber is an alternate of scalars.
type StrOrNumber struct {
	S *string   `qapi:"s,alternate"`
	N *float64  `qapi:"n,alternate"`
	Z *NullType `qapi:"z,alternate"`
}

// IntOrBool is another.
type IntOrBool struct {
	I *uint8 `qapi:"i,alternate"`
	B *bool  `qapi:"b,alternate"`
}

// OuterRef is a reference to a union or one itself, or many.
type OuterRef struct {
	Definition *Outer     `qapi:"definition,alternate"`
	Reference  *Letter    `qapi:"reference,alternate"`
	Many       *OuterList `qapi:"many,alternate"`
}

// Alternates has alternates as members.
type Alternates struct {
	One  *StrOrNumber `qapi:"one"`
	Two  *OuterRef    `qapi:"two"`
	Many OuterRefList `qapi:"many,optional"`
	Bits *IntOrBool   `qapi:"bits"`
}

// OuterRefList is a list of alternates.
type OuterRefList []OuterRef

// Open takes members that it does not declare.
type Open struct {
	LetterBase
	Rest Value `qapi:",rest"`
}
